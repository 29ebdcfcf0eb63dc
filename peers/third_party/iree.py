"""IREE. Needs the packages `iree-base-compiler` and `iree-base-runtime`, and `onnx`."""

from __future__ import annotations

import importlib.metadata
from typing import Any


class Iree:
    """IREE: a model is imported, compiled and run.

    Args:
        target: The backend that it is compiled for, such as `llvm-cpu`, or `cuda`.
    """

    def __init__(self, target: str = "llvm-cpu") -> None:
        from iree import runtime
        from iree.compiler import tools
        from iree.compiler.extras import onnx_importer

        self.runtime, self.tools, self.onnx_importer = runtime, tools, onnx_importer
        self.name = "iree"
        self.version = importlib.metadata.version("iree-base-compiler")
        self.target = target
        self.driver = "local-sync" if target == "llvm-cpu" else target

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        config = self.runtime.Config(self.driver)
        module = self.runtime.VmModule.copy_buffer(config.vm_instance, self._compiled(model))
        context = self.runtime.SystemContext(config=config)
        context.add_vm_module(module)
        name = next(n for n in module.function_names if n[:2] != "__" and not n.endswith("$async"))
        outputs = context.modules[module.name][name](*inputs.values())
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [output.to_host() for output in outputs]

    def _compiled(self, model: bytes) -> bytes:
        """The model as what IREE's virtual machine loads."""
        import onnx
        from iree.compiler.ir import Context

        proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), data_prop=True)
        info = self.onnx_importer.ModelInfo(proto)
        module = info.create_module(context=Context()).operation
        self.onnx_importer.NodeImporter.define_function(info.main_graph, module).import_all()
        text = module.get_asm(assume_verified=True)
        try:
            options = ["--iree-llvmcpu-target-cpu=host"] if self.target == "llvm-cpu" else []
            compiled: bytes = self.tools.compile_str(
                text, target_backends=[self.target], input_type="onnx", extra_args=options
            )
        except self.tools.CompilerToolError as error:
            if "failed to legalize operation 'torch.o" in str(error):
                raise NotImplementedError(str(error)) from error
            raise
        return compiled
