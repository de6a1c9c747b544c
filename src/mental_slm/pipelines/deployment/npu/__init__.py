"""From the merged model to containers for a phone's NPU: static graphs, QDQ, DLC, parity."""
