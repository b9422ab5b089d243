"""The TensorFlow Lite reader against the runtime's own view of the same files, and against damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from jpst.weights import readers
from jpst.weights.readers import CheckpointError
from jpst.weights.tflite import read_tflite

FILES = ("nima_mobilenet_aesthetic.tflite", "deeplabv3_mnv2_ade20k_int8.tflite")


def model(shared: Path, name: str) -> Path:
    path = shared / "weights" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


@pytest.mark.parametrize("name", FILES)
def test_weights_are_those_that_the_runtime_sees(shared, name):
    """Every weight and bias of every layer, dequantised, in the order of the graph's operators."""
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="needs pip install ai-edge-litert")
    path = model(shared, name)
    interpreter = runtime.Interpreter(
        str(path), experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    found, seen = read_tflite(path), 0
    for operator in interpreter._get_ops_details():
        if operator["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        output = details[operator["outputs"][0]]["name"]
        for role, index in zip(("weights", "bias"), operator["inputs"][1:], strict=True):
            stored, how = interpreter.get_tensor(index), details[index]["quantization_parameters"]
            scale = how["scales"] if len(how["scales"]) else np.ones(1, np.float32)
            along = [1] * stored.ndim
            along[how["quantized_dimension"]] = len(scale)
            zero = how["zero_points"].reshape(along) if len(how["zero_points"]) else 0
            expected = scale.reshape(along) * (stored - zero)
            np.testing.assert_allclose(found[f"{output}/{role}"], expected, rtol=1e-6, err_msg=output)
            seen += 1
    assert seen > 50
    assert sum(key.endswith(("/weights", "/bias")) for key in found) == seen


def test_the_format_is_told_by_content(shared, tmp_path):
    copy = tmp_path / "weights.h5"
    copy.write_bytes(model(shared, FILES[0]).read_bytes())
    assert len(readers.read(copy)) == 57


def small_model(
    code: int = 3,
    scale: tuple[float, ...] = (0.5, 0.25),
    shape: tuple[int, ...] = (2, 1, 1, 2),
    stored: tuple[int, float, tuple[int, ...]] | None = None,
    outputs: tuple[int, ...] = (2,),
) -> bytes:
    """One operator with int8 weights, written field by field: output "layer", weights "w", no bias.

    `stored`: how the output is, as a type, a scale and zero points.
    """
    built = Builder()
    weights = built.vector("b", (2, -4, 8, 16))
    buffers = built.tables([{}, {0: ("ref", weights)}])
    quantised = built.table({2: ("ref", built.vector("f", scale)), 3: ("ref", built.vector("q", (0,) * len(scale)))})
    tensor = lambda name, **more: {0: ("ref", built.vector("i", shape)), 3: ("ref", built.text(name)), **more}  # noqa: E731
    layer = tensor("layer")
    if stored:
        kind, step, zero = stored
        how = {2: ("ref", built.vector("f", (step,))), 3: ("ref", built.vector("q", zero))}
        layer |= {1: ("b", kind), 4: ("ref", built.table(how))}
    tensors = built.tables([tensor("image"), {**tensor("w"), 1: ("b", 9), 2: ("I", 1), 4: ("ref", quantised)}, layer])
    operator = {1: ("ref", built.vector("i", (0, 1))), 2: ("ref", built.vector("i", outputs))}
    graph = built.tables([{0: ("ref", tensors), 3: ("ref", built.tables([operator]))}])
    codes = built.tables([{0: ("b", min(code, 127)), 3: ("i", code)}])
    root = built.table({1: ("ref", codes), 2: ("ref", graph), 4: ("ref", buffers)})
    return built.finish(root)


class Builder:
    """A FlatBuffer put together forwards: offsets to what was written before are filled in as negative distances.

    Offsets in the format are unsigned, so everything is laid out in reverse order at the end.
    """

    def __init__(self) -> None:
        self.parts: list[bytes | list] = []

    def _add(self, part) -> int:
        self.parts.append(part)
        return len(self.parts) - 1

    def vector(self, kind: str, values: tuple) -> int:
        return self._add(struct.pack(f"<I{len(values)}{kind}", len(values), *values))

    def text(self, text: str) -> int:
        return self._add(struct.pack("<I", len(text)) + text.encode() + b"\0")

    def table(self, fields: dict) -> int:
        return self._add([fields])

    def tables(self, tables: list[dict]) -> int:
        return self._add([[self.table(fields) for fields in tables]])

    def finish(self, root: int) -> bytes:
        sizes = [len(self._rendered(part, None, 0)) for part in self.parts]
        starts, at = {}, 8
        for index in reversed(range(len(self.parts))):
            starts[index], at = at, at + sizes[index] + (-sizes[index]) % 8
        data = bytearray(at)
        for index, part in enumerate(self.parts):
            data[starts[index] : starts[index] + sizes[index]] = self._rendered(part, starts, starts[index])
        at_root = starts[root] + self._table_offset(self.parts[root][0])
        data[:8] = struct.pack("<I", at_root) + b"TFL3"
        return bytes(data)

    def _table_offset(self, fields: dict) -> int:
        return 4 + 2 * (max(fields, default=-1) + 1)

    def _rendered(self, part, starts, at: int) -> bytes:
        if isinstance(part, bytes):
            return part
        refer = lambda index, here: self._target(index, starts) - here if starts else 0  # noqa: E731
        if isinstance(part[0], list):
            entries = part[0]
            refs = [refer(index, at + 4 + 4 * i) for i, index in enumerate(entries)]
            return struct.pack(f"<I{len(refs)}I", len(refs), *refs)
        fields, offset = part[0], self._table_offset(part[0])
        body, where = b"", [0] * (max(fields, default=-1) + 1)
        for number, (kind, value) in fields.items():
            where[number] = 4 + len(body)
            here = at + offset + where[number]
            body += struct.pack("<I", refer(value, here)) if kind == "ref" else struct.pack(f"<{kind}", value)
        head = struct.pack(f"<2H{len(where)}H", offset, 4 + len(body), *where)
        return head + struct.pack("<i", offset) + body

    def _target(self, index: int, starts) -> int:
        part = self.parts[index]
        return starts[index] + (
            self._table_offset(part[0]) if isinstance(part, list) and isinstance(part[0], dict) else 0
        )


@pytest.fixture
def file(tmp_path):
    def write(data: bytes) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        return path

    return write


def test_a_scale_for_each_channel_and_one_for_all(file):
    found = readers.read(file(small_model()))
    np.testing.assert_array_equal(found["layer/weights"].reshape(2, 2), [[1, -2], [2, 4]])
    found = readers.read(file(small_model(scale=(0.5,))))
    np.testing.assert_array_equal(found["layer/weights"].reshape(2, 2), [[1, -2], [4, 8]])


@pytest.mark.parametrize(
    ("code", "stored", "ends"),
    [
        (3, (9, 0.5, (-128,)), (0, 127.5)),
        (3, (3, 0.5, (10,)), (-5, 122.5)),
        (4, (9, 0.25, (0,)), (-32, 31.75)),
        (9, (9, 0.25, ()), (-32, 31.75)),  # no zero point is a zero point of zero
        (0, (9, 0.25, (28,)), (-39, 24.75)),
    ],
)
def test_the_range_of_an_output_in_eight_bits_is_told(file, code, stored, ends):
    found = readers.read(file(small_model(code=code, stored=stored)))
    np.testing.assert_array_equal(found["layer/range"], np.float32(ends))
    assert found["layer/range"].dtype == np.float32


@pytest.mark.parametrize(("code", "stored"), [(3, None), (3, (2, 0.5, (0,))), (14, (9, 0.5, (0,)))])
def test_other_outputs_have_no_range(file, code, stored):
    """In floating point, in 32 bits, and of an operator that has neither weights nor adds."""
    assert "layer/range" not in readers.read(file(small_model(code=code, stored=stored)))


def test_a_range_that_overflows_is_left_for_the_network_to_refuse(file):
    found = readers.read(file(small_model(stored=(9, 3e38, (0,)))))
    assert not np.isfinite(found["layer/range"]).any()


def test_an_operator_without_outputs_does_no_harm(file):
    assert list(readers.read(file(small_model(code=129, outputs=())))) == ["w"]


def test_ranges_are_those_that_the_runtime_sees(shared):
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="needs pip install ai-edge-litert")
    path = model(shared, FILES[1])
    interpreter = runtime.Interpreter(
        str(path), experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    found = read_tflite(path)
    outputs = {
        details[operator["outputs"][0]]["name"]: details[operator["outputs"][0]]
        for operator in interpreter._get_ops_details()
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD")
    }
    assert {name.removesuffix("/range") for name in found if name.endswith("/range")} == outputs.keys()
    for name, each in outputs.items():
        scale, zero = each["quantization"]
        ends = np.iinfo(each["dtype"]).min, np.iinfo(each["dtype"]).max
        np.testing.assert_allclose(found[f"{name}/range"], [scale * (end - zero) for end in ends], rtol=1e-6)


def test_constants_of_other_operators_keep_their_names(file):
    assert list(readers.read(file(small_model(code=0)))) == ["w"]


def test_a_shape_that_does_not_hold_the_values_is_refused(file):
    with pytest.raises(CheckpointError, match=r"model\.tflite.*of 4 values"):
        readers.read(file(small_model(shape=(3, 1, 1, 2))))


@pytest.mark.parametrize("stored", [None, (9, 0.5, (-128,))])
def test_every_truncation_and_changed_byte_is_an_error_or_harmless(file, stored):
    """No other exception, no hang, and nothing read from beyond the file."""
    whole = small_model(stored=stored)
    for length in range(8, len(whole), 3):
        try:
            readers.read(file(whole[:length]))
        except CheckpointError:
            continue
    for at in range(8, len(whole)):
        changed = bytearray(whole)
        changed[at] = 255 - changed[at]
        try:
            readers.read(file(bytes(changed)))
        except CheckpointError:
            continue
