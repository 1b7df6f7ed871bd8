"""The part of Triton's model configuration that sdkit writes, as protocol buffer messages: names, numbers and types.

`tritonclient` brings the whole schema, but not for the protobuf and ml_dtypes that onnx needs here; where it is
installed, a test holds this against it.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

PACKAGE = "inference"
DATA_TYPES = {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11}
MESSAGES = {
    "ModelInput": "1 string name, 2 DataType data_type, 4 repeated int64 dims",
    "ModelOutput": "1 string name, 2 DataType data_type, 3 repeated int64 dims",
    "ModelDynamicBatching": "2 uint64 max_queue_delay_microseconds",
    "ModelSequenceBatching": "1 uint64 max_sequence_idle_microseconds, 4 .StrategyOldest oldest, "
    "5 repeated .State state",
    "ModelSequenceBatching.StrategyOldest": "1 int32 max_candidate_sequences, 3 uint64 max_queue_delay_microseconds",
    "ModelSequenceBatching.InitialState": "1 DataType data_type, 2 repeated int64 dims, 3 bool zero_data, "
    "5 string name",
    "ModelSequenceBatching.State": "1 string input_name, 2 string output_name, 3 DataType data_type, "
    "4 repeated int64 dims, 5 repeated ModelSequenceBatching.InitialState initial_state",
    "ModelEnsembling": "1 repeated .Step step",
    "ModelEnsembling.Step": "1 string model_name, 2 int64 model_version, 3 map input_map, 4 map output_map",
    "ModelConfig": "1 string name, 2 string platform, 4 int32 max_batch_size, 5 repeated ModelInput input, "
    "6 repeated ModelOutput output, 11 ModelDynamicBatching dynamic_batching, "
    "13 ModelSequenceBatching sequence_batching, 15 ModelEnsembling ensemble_scheduling, 17 string backend",
}
SCALARS = {"string": 9, "int64": 3, "uint64": 4, "int32": 5, "bool": 8}


def parse(text: str) -> Any:
    """Return the ModelConfig of a config.pbtxt; what Triton would not know is refused."""
    return text_format.Parse(
        text, message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.ModelConfig"))()
    )


def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sdkit_triton.proto", package=PACKAGE, syntax="proto3")
    enum = file.enum_type.add(name="DataType")
    for name, number in DATA_TYPES.items():
        enum.value.add(name=name, number=number)
    made: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        message = made[name] = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=name)
        for words in fields.split(", "):
            _field(message, name, *words.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _field(message: Any, parent: str, number: str, *words: str) -> None:
    *label, kind, name = words
    field = message.field.add(name=name, number=int(number), label=3 if label or kind == "map" else 1)
    if kind in SCALARS:
        field.type = SCALARS[kind]
    elif kind == "DataType":
        field.type, field.type_name = 14, f".{PACKAGE}.DataType"
    elif kind == "map":
        entry = message.nested_type.add(name="".join(word.capitalize() for word in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for place, part in ((1, "key"), (2, "value")):
            entry.field.add(name=part, number=place, label=1, type=9)
        field.type, field.type_name = 11, f".{PACKAGE}.{parent}.{entry.name}"
    else:
        field.type, field.type_name = 11, f".{PACKAGE}.{parent}{kind}" if kind.startswith(".") else f".{PACKAGE}.{kind}"
