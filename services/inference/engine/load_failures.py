"""What whoever starts the service is told where a model cannot be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import Device, Weights


def damaged(folder: ModelFolder) -> StartupError:
    """Its files are not what they should be."""
    return StartupError(f"{folder.id} cannot be loaded: its files are damaged or incomplete; fetch them again.")


def no_numbers() -> StartupError:
    """It loads and computes NaN."""
    return StartupError("The model's weights are damaged: it computes values that are no numbers.")


def too_big(weights: Weights, device: Device) -> StartupError:
    """There is too little memory."""
    return StartupError(
        f"The model in {weights} does not fit the memory of the {device}; set {variable_name('weights')} to "
        f"bnb-int8 or bnb-nf4, or {variable_name('model')} to a smaller one."
    )


def no_room(tokens: int) -> StartupError:
    """There is too little memory for keys and values."""
    return StartupError(
        f"Keys and values of {tokens} tokens do not fit the memory beside the model; set "
        f"{variable_name('kv_cache_tokens')}, {variable_name('prefix_cache_tokens')} or "
        f"{variable_name('context_tokens')} lower."
    )


def impossible(weights: str, device: Device) -> StartupError:
    """The device, or what is installed, cannot compute with these weights."""
    hint = "install bitsandbytes and accelerate in versions that support this device, or " if "bnb" in weights else ""
    return StartupError(
        f"{variable_name('weights')}={weights} cannot be computed on the {device} here; {hint}"
        f"set it to {'fp32' if weights == 'bf16' else 'bf16'}."
    )
