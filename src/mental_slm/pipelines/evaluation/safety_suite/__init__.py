"""The safety suite: made-up prompts, checks of the answers, the risk detector's measure, the gate.

The nodes live in :mod:`.nodes`; the shape of ``safety_metrics`` is described in :mod:`.metrics`.
"""
