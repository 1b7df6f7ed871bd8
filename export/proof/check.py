"""Structure of ONNX files against the manifest: names, dtypes, axes and the contract in metadata_props."""

import json
from typing import Any

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import TensorSpec
from sdkit.runtime.errors import ManifestError


def check_onnx_files(bundle: Bundle) -> None:
    """Check every ONNX file of a bundle with onnx.checker and against the manifest.

    Raises:
        ManifestError: a tensor, an axis or the metadata differs from the manifest.
    """
    if "onnx" not in bundle.manifest.formats:
        return
    import onnx

    for name, graph in bundle.manifest.graphs.items():
        file = bundle.graph_file(name, "onnx")
        onnx.checker.check_model(str(file), full_check=True)
        proto = onnx.load(str(file))
        for given, wanted in ((proto.graph.input, graph.inputs), (proto.graph.output, graph.outputs)):
            found = tuple(_spec(value, onnx) for value in given)
            if found != wanted:
                raise ManifestError(f"{file} has the tensors {found}; the manifest says {wanted}")
        stamped = {p.key: p.value for p in proto.metadata_props}
        if json.loads(stamped.get("sdkit.contract", "{}")).get("graph") != name:
            raise ManifestError(f"{file} does not carry its contract in metadata_props")


def _spec(value: Any, onnx: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_param if d.HasField("dim_param") else d.dim_value for d in tensor.shape.dim)
    return TensorSpec(value.name, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)
