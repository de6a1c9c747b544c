"""Labels two ways: read from the answers, and by the likelihood of each option."""
