"""Training of adapters: a plain program around transformers' Trainer, without Kedro."""

import logging
import warnings

# bitsandbytes asks the hub for an optional CPU kernel when it is imported, and warns that it has
# none; its built-in kernel is used, which is all this project wants
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# writing NF4 weights out is a choice here; transformers warns each time that it may cost quality
logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)

# PEFT 0.21 still asks a model for the old name of a property that transformers 5.23 has renamed
warnings.filterwarnings(
    "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
)
