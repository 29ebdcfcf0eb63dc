"""Makes the small decoders with a cache in `tests/generate/exported`, with one family of exporters.

Their weights are random. Each family needs an environment of its own, and none of them onnxla:

    torch         torch 2.13.0, transformers 5.24.0, onnx 1.23.2, onnxscript 0.7.2
    transformers  the same
    optimum       torch 2.13.0, transformers 4.57.6, optimum-onnx 0.1.0, onnx 1.23.2
    builder       torch 2.13.0, transformers 5.24.0, onnxruntime-genai 0.18.0

    python tools/exporters/export_decoders.py FAMILY [MODEL...]
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import onnx
import torch
import transformers

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "generate" / "exported"
WORDS, LONGEST = 61, 192
# What says the same of all: few words and features, and weights far enough from zero that tokens
# differ.
COMMON = {
    "vocab_size": WORDS,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA = {
    **COMMON,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": LONGEST,
}
T5 = {**COMMON, "d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2}
WHISPER = {
    **COMMON,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 8,
    "max_target_positions": LONGEST,
    "decoder_start_token_id": 1,
    "init_std": 0.3,
}
# By name: the class of the configuration, what it says, and the model's.
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", LLAMA, "LlamaForCausalLM"),
    "qwen2": ("Qwen2Config", LLAMA, "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", LLAMA, "Qwen3ForCausalLM"),
    "mistral": ("MistralConfig", {**LLAMA, "sliding_window": None}, "MistralForCausalLM"),
    "phi3": ("Phi3Config", {**LLAMA, "num_key_value_heads": 2}, "Phi3ForCausalLM"),
    "gpt2": (
        "GPT2Config",
        {**COMMON, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 32, "n_positions": LONGEST},
        "GPT2LMHeadModel",
    ),
    "opt": (
        "OPTConfig",
        {
            **{**COMMON, "init_std": 0.3, "hidden_size": 32, "ffn_dim": 32},
            **{"num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 32},
            "max_position_embeddings": LONGEST,
        },
        "OPTForCausalLM",
    ),
    "mamba": (
        "MambaConfig",
        {**COMMON, "hidden_size": 16, "num_hidden_layers": 2, "tie_word_embeddings": False},
        "MambaForCausalLM",
    ),
    "t5": ("T5Config", {**T5, "initializer_factor": 3.0}, "T5ForConditionalGeneration"),
    "whisper": ("WhisperConfig", WHISPER, "WhisperForConditionalGeneration"),
}


def make(name: str) -> Any:
    """A model with random weights."""
    config, options, model = MODELS[name]
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**options))
    return made.eval()


class Flat(torch.nn.Module):
    """A decoder whose cache goes in and out as a list of tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: Any) -> Any:
        """Logits, and the keys and values of each layer."""
        pairs = [*zip(past[::2], past[1::2], strict=True)]
        cache = transformers.DynamicCache(pairs)
        made = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        layers = made.past_key_values.layers
        return made.logits, [x for layer in layers for x in (layer.keys, layer.values)]


def torch_onnx(model: Any, path: Path, *, dynamo: bool) -> None:
    """PyTorch's exporters, of a model whose keys and values are tensors of their own."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers = range(config.num_hidden_layers)
    parts = [f"{i}.{part}" for i in layers for part in ("key", "value")]
    names = ["input_ids", "attention_mask", "position_ids"]
    names += [f"past_key_values.{part}" for part in parts]
    past = [torch.randn(2, heads, 5, size) for _ in parts]
    ids = torch.randint(0, WORDS, (2, 3))
    args = ids, torch.ones(2, 8, dtype=torch.int64), torch.arange(5, 8).expand(2, 3), past
    options: dict[str, Any] = {
        "input_names": names,
        "output_names": ["logits", *(f"present.{part}" for part in parts)],
    }
    if dynamo:
        batch, new, old = map(torch.export.Dim, ("batch", "sequence", "past"))
        axes: Any = {0: batch, 1: new}
        kept = [{0: batch, 2: old} for _ in parts]
        dims = torch.export.Dim.AUTO
        options["dynamic_shapes"] = (axes, {0: batch, 1: dims}, axes, kept)
        options["external_data"] = False
    else:
        shapes = {name: {0: "batch", 1: "sequence"} for name in (*names[:3:2], "logits")}
        shapes["attention_mask"] = {0: "batch", 1: "total"}
        shapes |= {f"past_key_values.{part}": {0: "batch", 2: "past"} for part in parts}
        shapes |= {f"present.{part}": {0: "batch", 2: "total"} for part in parts}
        options["dynamic_axes"] = shapes
    torch.onnx.export(Flat(model), args, path, dynamo=dynamo, **options)


def after_encoder(model: Any) -> dict[str, Any]:
    """What `generate` gives a decoder after its first tokens; T5 with a mask of what was read."""
    speech = model.config.model_type == "whisper"
    read = {"input_features": torch.randn(2, 8, 3000)} if speech else {}
    read = read or {"input_ids": torch.randint(3, WORDS, (2, 9))}
    ids = torch.randint(3, WORDS, (2, 6))
    with torch.no_grad():
        made = model(**read, decoder_input_ids=ids, use_cache=True)
    outputs = transformers.modeling_outputs.BaseModelOutput
    return {
        "encoder_outputs": outputs(last_hidden_state=made.encoder_last_hidden_state),
        "decoder_input_ids": ids[:, :2],
        "past_key_values": made.past_key_values,
        "use_cache": True,
        **({} if speech else {"attention_mask": torch.ones(2, 9, dtype=torch.int64)}),
    }


def hugging_face(model: Any, path: Path) -> None:
    """The exporter in transformers, with the inputs that its `generate` would give."""
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    states = model.config.model_type == "mamba"
    batch = 1 if states else 2
    ids = torch.randint(3, WORDS, (batch, 6))
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    cache = "cache_params" if states else "past_key_values"
    if model.config.is_encoder_decoder:
        inputs = after_encoder(model)
    else:
        with torch.no_grad():
            made = model(**inputs, use_cache=True)
        inputs = {
            "input_ids": ids[:, : 1 if states else 2],  # states are for one token at a time
            "attention_mask": torch.ones(batch, 1 if states else 8, dtype=torch.int64),
            cache: made[cache],
            "use_cache": True,
        }
    # Of states it would leave open the sizes that are fixed.
    exported = OnnxExporter().export(model, inputs, config=OnnxConfig(dynamic=not states))
    import onnx_ir

    onnx_ir.save(exported.program, path)


def optimum(model: Any, folder: Path, task: str) -> None:
    """Optimum's exporter."""
    from optimum.exporters.onnx import onnx_export_from_model

    onnx_export_from_model(model, folder, task=task, do_validation=False)


def builder(name: str, folder: Path, precision: str) -> None:
    """The model builder of onnxruntime-genai, which reads a saved model."""
    from onnxruntime_genai.models import builder as module
    from tokenizers import Tokenizer, models

    source = folder / "source"
    make(name).save_pretrained(source)
    words = {f"w{i}": i for i in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0")
    fast.save_pretrained(source)
    sys.argv = [
        *("builder", "-i", str(source), "-o", str(folder), "-p", precision, "-e", "cpu"),
        *("-c", str(folder / "cache")),
    ]
    module.main() if hasattr(module, "main") else run_as_script(module)


def run_as_script(module: Any) -> None:
    """What the builder does when it is run by name."""
    import runpy

    runpy.run_module(module.__name__, run_name="__main__", alter_sys=True)


def write(exporter: str, name: str, model: onnx.ModelProto) -> None:
    """Writes a file, without what depends on the machine."""
    for graph in (model.graph, *(f for f in model.functions)):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    path = FOLDER / exporter / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    print(name, exporter, path.stat().st_size, flush=True)


def exports(family: str, name: str) -> dict[str, Callable[[Path], Any]]:
    """What a family of exporters writes of a model into a folder, by the exporter's name."""
    if family == "transformers":
        return {family: lambda folder: hugging_face(make(name), folder / "model.onnx")}
    if family == "torch":
        made = {}
        for exporter, dynamo in (("torch-export", True), ("torch-script", False)):
            made[exporter] = lambda folder, dynamo=dynamo: torch_onnx(
                make(name), folder / "model.onnx", dynamo=dynamo
            )
        return made
    if family == "optimum":
        tasks = {"whisper": "automatic-speech-recognition", "t5": "text2text-generation"}
        task = f"{tasks.get(name, 'text-generation')}-with-past"
        return {"optimum": lambda folder: optimum(make(name), folder, task)}
    return {
        f"builder-{precision}": partial(builder, name, precision=precision)
        for precision in ("fp32", "int4")
    }


def main(family: str, *names: str) -> None:
    """Writes the files of a family of exporters."""
    warnings.simplefilter("ignore")
    for name in names or MODELS:
        for exporter, export in exports(family, name).items():
            with tempfile.TemporaryDirectory() as folder:
                told = io.StringIO()
                try:
                    with contextlib.redirect_stdout(told):
                        export(Path(folder))
                except Exception as error:  # the table says what an exporter does not write
                    print(name, exporter, type(error).__name__, str(error)[-600:], flush=True)
                    continue
                for path in sorted(Path(folder).glob("*.onnx")):
                    if "encoder" in path.stem:
                        continue
                    stem = "" if path.stem == "model" else f"-{path.stem}"
                    write(exporter, f"{name}{stem}", onnx.load(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
