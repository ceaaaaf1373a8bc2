"""Weights between our layers and PyTorch's: the same matrices under other names."""

from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.models.checks import require

NAMES = {
    "self_attn": "self_attention",
    "multihead_attn": "cross_attention",
    "out_proj": "W_O",
    "linear1": "feed_forward.linear1",
    "linear2": "feed_forward.linear2",
}


def our_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of `nn.MultiheadAttention`, a layer, a stack or `nn.Transformer` under our names."""
    found = {}
    for name, value in state.items():
        *path, last = (NAMES.get(part, part) for part in name.split("."))
        if last.startswith("in_proj_"):  # W_Q, W_K and W_V by rows
            for letter, rows in zip("QKV", value.chunk(3), strict=True):
                found[".".join([*path, f"W_{letter}", last.removeprefix("in_proj_")])] = rows
        else:
            found[".".join([*path, last])] = value
    return found


def options_of(module: nn.Module) -> dict[str, Any]:
    """The arguments that make a module of ours compute what one of PyTorch's does, or ValueError."""
    if isinstance(module, nn.MultiheadAttention):
        one_width = isinstance(module.in_proj_weight, Tensor)
        plain = one_width and module.bias_k is None and not module.add_zero_attn
        require(plain, "Weights with kdim, vdim, add_bias_kv or add_zero_attn cannot be copied.")
        require(module.batch_first, "Our layers read [B, S, d_model]; set batch_first=True there.")
        require(module.in_proj_bias is not None, "Our layers have biases; set bias=True there.")
        sizes = {"d_model": module.embed_dim, "n_heads": module.num_heads}
        return sizes | {"dropout": module.dropout}
    layer: Any = module
    what = f"Only a layer can be copied with its options, no {type(module).__name__}"
    require(hasattr(layer, "activation"), f"{what}; build ours and call copy_from_torch.")
    x, names = torch.linspace(-9, 9, 12), ("relu", "gelu")
    same = [name for name in names if torch.equal(layer.activation(x), getattr(F, name)(x))]
    require(bool(same), f"Only relu and the exact gelu can be copied, not {layer.activation}.")
    parts = list(layer.modules())
    dropouts = {part.p for part in parts if isinstance(part, nn.Dropout)}
    dropouts |= {part.dropout for part in parts if isinstance(part, nn.MultiheadAttention)}
    constants = {part.eps for part in parts if isinstance(part, nn.LayerNorm)}
    found = f"this one has dropouts {sorted(dropouts)} and eps {sorted(constants)}"
    one = len(dropouts) == len(constants) == 1
    require(one, f"Our layer has one dropout and one eps for all its parts, but {found}.")
    heads = [options_of(part) for part in parts if isinstance(part, nn.MultiheadAttention)]
    sizes = {"d_ff": layer.linear1.out_features, "layer_norm_eps": constants.pop()}
    return heads[0] | sizes | {"activation": same[0], "norm_first": layer.norm_first}


Theirs = TypeVar("Theirs", bound=nn.Module)
_LAYERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class TorchWeights(nn.Module):
    """A module that mirrors one of PyTorch's, so that weights can move both ways."""

    # attributes that must agree although the weights do not show them
    options: tuple[str, ...] = ()

    @classmethod
    def from_torch(cls, module: nn.Module, **options: Any) -> Self:
        """A copy of a layer of PyTorch's, options and weights included; `options` are added."""
        own = cls(**options_of(module), **options).to(next(module.parameters()))
        return own.copy_from_torch(module).train(module.training)

    def copy_from_torch(self, module: nn.Module) -> Self:
        """Take over the weights of a module of PyTorch's with the same options."""
        theirs = our_names(module.state_dict())
        self._check_same(module, theirs)
        self.load_state_dict(theirs, strict=False)  # nn.Transformer has no embeddings
        return self

    def copy_to_torch(self, module: Theirs) -> Theirs:
        """Give the weights to a module of PyTorch's with the same options and return it."""
        mine, state = self.state_dict(), module.state_dict()
        self._check_same(module, our_names(state))
        for name, value in state.items():
            state[name] = torch.cat([mine[ours] for ours in our_names({name: value})])
        module.load_state_dict(state)
        return module

    def _check_same(self, module: nn.Module, theirs: dict[str, Tensor]) -> None:
        """Refuse a module that has other weights, or computes something else with them."""
        mine = self.state_dict()
        if isinstance(module, nn.Transformer):
            mine = {k: v for k, v in mine.items() if k.startswith(("encoder.", "decoder."))}
        shapes = [{(k, v.shape) for k, v in state.items()} for state in (mine, theirs)]
        apart = sorted(name for name, _ in shapes[0] ^ shapes[1])
        modules = "modules of the same depth and shape, with the same biases and normalisations"
        first = apart[0] if apart else ""
        require(not apart, f"Weights can be copied only between {modules}, but {first} differs.")
        ours = [m for m in self.modules() if isinstance(m, TorchWeights) and m.options]
        others = [options_of(part) for part in module.modules() if isinstance(part, _LAYERS)]
        eps, their_eps = (
            [part.eps for part in root.modules() if isinstance(part, nn.LayerNorm)]
            for root in (self, module)
        )
        pairs = [("eps", eps, their_eps)]
        for own, other in zip(ours, others, strict=True):
            pairs += [(key, getattr(own, key), other[key]) for key in own.options]
        for key, here, there in pairs:
            found = f"but {key} is {here} here and {there} there"
            require(here == there, f"Weights can be copied only with the same options, {found}.")
