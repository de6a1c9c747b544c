"""The report of one model: everything the evaluation measured, in the order a reader needs it."""
