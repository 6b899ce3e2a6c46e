"""TensorRT engines: built from half-precision ONNX, which TensorRT 10 and 11 read alike, or by torch2trt.

API: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import copy
from types import ModuleType

import torch

from pipeline.engines.spec import EngineSpec
from pipeline.errors import HandPoseError

WORKSPACE_BYTES = 1 << 30


def build_plan(trt: ModuleType, model: bytes, spec: EngineSpec) -> bytes:
    """A serialised engine for batches of 1 to `spec.max_batch`, in the precisions that the ONNX file has.

    Args:
        trt: the module `tensorrt`, 10 or later, or one with the same interface.
        model: ONNX.

    Raises:
        HandPoseError: TensorRT cannot read the model, or build the engine.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        reasons = "; ".join(str(parser.get_error(k)) for k in range(parser.num_errors))
        raise HandPoseError(
            f"TensorRT {trt.__version__} cannot read {spec.name} ({reasons}): use --engine torch"
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    profile = builder.create_optimization_profile()
    smallest, largest = ((count, *spec.input_shape) for count in (1, spec.max_batch))
    profile.set_shape(network.get_input(0).name, smallest, smallest, largest)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise HandPoseError(
            f"TensorRT {trt.__version__} cannot build {spec.name}: free GPU memory, or use --engine torch"
        )
    return bytes(plan)


def build_plan_with_torch2trt(spec: EngineSpec, device: torch.device) -> bytes:
    """The same by torch2trt (0.4 or later), in half precision with float32 inputs and outputs."""
    from torch2trt import torch2trt

    module = copy.deepcopy(spec.module).to(device).eval()
    with torch.inference_mode():
        converted = torch2trt(
            module,
            [torch.zeros(1, *spec.input_shape, device=device)],
            fp16_mode=True,
            max_workspace_size=WORKSPACE_BYTES,
            min_shapes=[(1, *spec.input_shape)],
            opt_shapes=[(1, *spec.input_shape)],
            max_shapes=[(spec.max_batch, *spec.input_shape)],
        )
    return bytes(converted.engine.serialize())
