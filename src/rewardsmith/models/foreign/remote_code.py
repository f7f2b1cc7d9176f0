"""Load a model through the Python code that its folder brings, with permission and with every weight it needs."""

from __future__ import annotations

from typing import Any

import torch

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import ImportOptions
from rewardsmith.models.heads import quiet_loading


def load_remote(auto_class: Any, folder: Folder, options: ImportOptions) -> Any:
    """Load by an auto class.

    Raises:
        CheckpointError: the folder's code may not run, fails, or leaves weights unset.
    """
    name = folder.remote_class(auto_class.__name__)
    if name and not options.trust_remote_code:
        raise CheckpointError(
            f"{folder.path} is scored by Python code of its own ({name}); read it, then allow it with "
            "trust_remote_code=True (--trust-remote-code)"
        )
    dtype = options.model.get("dtype", torch.float32)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
    try:
        with quiet_loading():
            model, info = auto_class.from_pretrained(
                str(folder.path), trust_remote_code=options.trust_remote_code, output_loading_info=True, dtype=dtype
            )
    except (OSError, ValueError, RuntimeError, ImportError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{folder.path}: its own code {name} cannot be loaded here: {reason}") from error
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise CheckpointError(f"{folder.path} lacks the weights {', '.join(missing[:4])}; rewards would be random")
    return model
