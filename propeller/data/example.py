"""Rows as protobuf messages: the ``Example`` of 2019's record files.

feature = int64_feature([3, 5])
data = encode({"text": feature})
values = decode(data)["text"].int64_list.value

``Example { Features features = 1 }``, ``Features { map<string, Feature> feature = 1 }``, ``Feature`` one of
``bytes_list = 1``, ``float_list = 2`` and ``int64_list = 3``, each with ``repeated value = 1``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from propeller.errors import UserError

_PACKAGE = "propeller.data"


@functools.lru_cache(maxsize=1)
def _messages():
    """name -> class of the messages; they are described here, so no generated code is needed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="propeller/example.proto", package=_PACKAGE, syntax="proto3")

    def message(name, *fields, parent=file.message_type):
        made = parent.add(name=name)
        for field in fields:
            made.field.add(**field)
        return made

    def field(name, number, kind, repeated=False, of=None, **more):
        label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        named = {"type_name": f".{_PACKAGE}.{of}"} if of else {}
        return {"name": name, "number": number, "type": kind, "label": label, **named, **more}

    lists = (("BytesList", kinds.TYPE_BYTES), ("FloatList", kinds.TYPE_FLOAT), ("Int64List", kinds.TYPE_INT64))
    for name, kind in lists:
        message(name, field("value", 1, kind, repeated=True))
    names = ("bytes_list", "float_list", "int64_list")
    feature = message(
        "Feature",
        *(
            field(name, number, kinds.TYPE_MESSAGE, of=of, oneof_index=0)
            for number, (name, (of, _)) in enumerate(zip(names, lists), 1)
        ),
    )
    feature.oneof_decl.add(name="kind")
    features = message("Features", field("feature", 1, kinds.TYPE_MESSAGE, repeated=True, of="Features.FeatureEntry"))
    entry = message(
        "FeatureEntry",
        field("key", 1, kinds.TYPE_STRING),
        field("value", 2, kinds.TYPE_MESSAGE, of="Feature"),
        parent=features.nested_type,
    )
    entry.options.map_entry = True
    message("Example", field("features", 1, kinds.TYPE_MESSAGE, of="Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def made(name):
        descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(descriptor)
        return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf before 4.22

    return {name: made(name) for name in ("Feature", "Example")}


def int64_feature(values: Iterable[int]) -> Any:
    """A ``Feature`` of integers."""
    feature = _messages()["Feature"]()
    feature.int64_list.value.extend(int(value) for value in values)
    return feature


def encode(features: Mapping[str, Any]) -> bytes:
    """An ``Example`` of name -> ``Feature``, serialised."""
    example = _messages()["Example"]()
    for name, feature in features.items():
        example.features.feature[name].CopyFrom(feature)
    return example.SerializeToString(deterministic=True)


def decode(data: bytes) -> Mapping[str, Any]:
    """name -> ``Feature`` of a serialised ``Example``.

    Raises:
        UserError: the bytes are none.
    """
    from google.protobuf.message import DecodeError

    example = _messages()["Example"]()
    try:
        example.ParseFromString(data)
    except DecodeError as error:
        raise UserError(f"a record is no Example ({error}): remove the file, so that it is made again") from None
    return example.features.feature
