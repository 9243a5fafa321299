"""Programs of pickle opcodes as an attacker could write them, and the files that carry them. Drawn by seed."""

import io
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch

CANARY = "canary"  # the name of the file that a program makes where it comes to run

# What would do harm if it were called, or changed; and what checkpoints honestly name.
HARMFUL = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("subprocess", "call"),
    ("builtins", "eval"), ("builtins", "exec"), ("builtins", "open"), ("builtins", "getattr"), ("builtins", "map"),
    ("builtins", "__import__"), ("builtins", "type"), ("builtins", "setattr"), ("__builtin__", "eval"),
    ("builtins", "bytearray"), ("builtins", "range"), ("io", "open"), ("pathlib", "Path.touch"), ("pathlib", "Path"),
    ("pickle", "loads"), ("_pickle", "loads"), ("torch", "load"), ("torch.hub", "load"), ("torch.jit", "load"),
    ("torch.storage", "_load_from_bytes"), ("torch.serialization", "_get_layout"), ("torch.package", "PackageImporter"),
    ("torch._utils", "_import_dotted_name"), ("torch._utils", "_rebuild_wrapper_subclass"), ("torch", "UntypedStorage"),
    ("torch._tensor", "_rebuild_from_type_v2"), ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("torch._utils", "_rebuild_parameter_with_state"), ("torch._utils", "_rebuild_meta_tensor_no_storage"),
    ("torch", "Tensor"), ("torch", "empty"), ("torch.nn.parameter", "Parameter"), ("numpy", "ndarray"),
    ("numpy", "memmap"), ("numpy", "load"), ("numpy", "fromfile"), ("numpy.core.multiarray", "fromfile"),
    ("numpy.testing._private.utils", "runstring"), ("operator", "attrgetter"), ("operator", "methodcaller"),
    ("functools", "partial"), ("functools", "reduce"), ("types", "FunctionType"), ("types", "CodeType"),
    ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("copy_reg", "add_extension"), ("shutil", "rmtree"),
    ("ctypes", "string_at"), ("ctypes", "CDLL"), ("importlib", "import_module"), ("runpy", "run_path"), ("sys", "exit"),
    ("socket", "create_connection"), ("webbrowser", "open"), ("code", "interact"), ("timeit", "timeit"),
    ("logging.config", "listen"), ("checkpoints.pickles", "load_pickle"), ("checkpoints.pickles", "_Load"),
    ("voxport", "StandIn"), ("voxport", "tensor"), ("voxport", "Array"), ("__main__", "main"),
]  # fmt: skip
HONEST = [
    ("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter"), ("builtins", "set"),
    ("builtins", "frozenset"), ("builtins", "complex"), ("builtins", "slice"), ("builtins", "bytes"), ("torch", "Size"),
    ("torch", "device"), ("torch", "float16"), ("torch", "FloatStorage"), ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_parameter"), ("_codecs", "encode"),
    ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("TTS.config", "Config"),
]  # fmt: skip
_ATTRIBUTES = ("__class__", "__dict__", "__code__", "__setstate__", "__reduce__", "__getattr__", "cache", "items",
               "_metadata", "__call__", "default_factory", "objects", "code", "dtype", "__defaults__")  # fmt: skip
_TEXTS = ("w", "latin1", "storage", "0", "cpu", "model", "O8", "f4", "\u20ac", *_ATTRIBUTES)
CARRIERS = ("zip", "nested zip", "legacy", "legacy header", "tar", "npy")


class Program:
    """Writes opcodes; every method leaves one value more on the stack, but for those that say otherwise."""

    def __init__(self, draw: random.Random, target: Path) -> None:
        self.draw, self.target, self.protocol = draw, target, draw.randrange(6)
        self.out, self.remembered = bytearray(), 0
        self.is_mild = draw.random() < 0.5  # without what every reader must refuse at once
        if self.protocol >= 2:
            self.out += pickle.PROTO + bytes([self.protocol])

    def whole(self) -> bytes:
        """One honest-looking table around it, half of the time; damaged, one time in five."""
        self.value(0) if self.draw.random() < 0.5 else self.table(0)
        self.out += pickle.STOP
        code = self.out
        if self.draw.random() < 0.2:
            for _ in range(self.draw.randint(1, 4)):
                place = self.draw.randrange(len(code))
                change = self.draw.randrange(3)
                if change == 0:
                    code[place] = self.draw.randrange(256)
                elif change == 1:
                    code.insert(place, self.draw.choice(b"()0123}]NRbtoseuac\x81\x92\x93\x94\x85\x86\x87Q\x89."))
                elif len(code) > 2:
                    del code[place]
        return bytes(code)

    def value(self, depth: int) -> None:
        deep = [self.table, self.row, self.sequence, self.honest, self.instance, self.built, self.tensor]
        if not self.is_mild:
            deep += [self.call, self.call, self.harm, self.harm, self.array, self.old_instance, self.extension,
                     self.persistent, self.doubled]  # fmt: skip
        choices = [self.text, self.number, self.raw, self.name, self.fetched]
        self.draw.choice(choices if depth > 4 else choices + deep)(depth + 1)
        if self.draw.random() < 0.4:
            self.remember()

    def remember(self) -> None:
        """Adds nothing."""
        if self.protocol >= 4 and self.draw.random() < 0.8:
            self.out += pickle.MEMOIZE
        elif self.protocol == 0:
            self.out += f"p{self.remembered}\n".encode()
        else:
            self.out += pickle.LONG_BINPUT + struct.pack("<I", self.remembered)
        self.remembered += 1

    def fetched(self, _: int = 0) -> None:
        if not self.remembered:
            self.out += pickle.NONE
            return
        self.out += pickle.LONG_BINGET + struct.pack("<I", self.draw.randrange(self.remembered))

    def text(self, _: int = 0, value: str | None = None) -> None:
        value = self.draw.choice((f"touch {self.target}", str(self.target), *_TEXTS)) if value is None else value
        encoded = value.encode()
        if self.protocol == 0:
            self.out += b"V" + value.encode("raw-unicode-escape") + b"\n"
        elif self.protocol >= 4:
            self.out += pickle.SHORT_BINUNICODE + bytes([len(encoded)]) + encoded
        else:
            self.out += pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded

    def number(self, _: int = 0, value: int | None = None) -> None:
        value = value if value is not None else self.draw.choice((0, 1, 2, 4, -1, 255, 2**31, 2**40, -(2**62), 10**30))
        if self.protocol < 2:
            self.out += f"L{value}L\n".encode()
        else:
            raw = pickle.encode_long(value)
            self.out += pickle.LONG1 + bytes([len(raw)]) + raw

    def raw(self, _: int = 0) -> None:
        raw = self.draw.randbytes(self.draw.choice((0, 4, 8, 16, 64)))
        if self.protocol >= 3:
            self.out += pickle.SHORT_BINBYTES + bytes([len(raw)]) + raw
        else:
            self.out += pickle.SHORT_BINSTRING + bytes([len(raw)]) + raw

    def name(self, _: int = 0, of: tuple[str, str] | None = None) -> None:
        module, name = of or self.draw.choice(HONEST if self.is_mild else self.draw.choice((HARMFUL, HONEST)))
        if self.protocol < 4:
            self.out += pickle.GLOBAL + f"{module}\n{name}\n".encode()
            return
        for part in (module, name):
            if self.draw.random() < 0.3:  # through the memo, with something else remembered between
                self.text(value=part)
                self.out += pickle.MEMOIZE + pickle.POP if self.draw.random() < 0.2 else pickle.MEMOIZE
                self.remembered += 1
            else:
                self.text(value=part)
        self.out += pickle.STACK_GLOBAL

    def row(self, depth: int) -> None:
        self.out += pickle.EMPTY_LIST + pickle.MARK
        for _ in range(self.draw.randrange(4)):
            self.value(depth)
        self.out += pickle.APPENDS

    def table(self, depth: int) -> None:
        self.out += pickle.EMPTY_DICT + pickle.MARK
        for _ in range(self.draw.randint(1, 4)):
            self.text() if self.draw.random() < 0.9 else self.value(depth)
            self.value(depth)
        self.out += pickle.SETITEMS

    def sequence(self, depth: int, count: int | None = None) -> None:
        self.out += pickle.MARK
        for _ in range(self.draw.randrange(4) if count is None else count):
            self.value(depth)
        self.out += pickle.TUPLE

    def call(self, depth: int) -> None:
        self.name()
        self.sequence(depth)
        self.out += pickle.REDUCE

    def harm(self, _: int = 0) -> None:
        function = self.draw.choice(HARMFUL)
        self.name(of=function)
        self.out += pickle.MARK
        self.text(
            value=self.draw.choice((f"touch {self.target}", f"open({str(self.target)!r}, 'w')", str(self.target)))
        )
        if function[1] in ("open", "memmap"):
            self.text(value="w")
        self.out += pickle.TUPLE + self.draw.choice((pickle.REDUCE, pickle.REDUCE, pickle.NEWOBJ))

    def honest(self, depth: int) -> None:
        """A call that trainers make."""
        self.name(of=("collections", self.draw.choice(("OrderedDict", "Counter", "defaultdict"))))
        self.out += pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.MARK
        for _ in range(self.draw.randrange(3)):
            self.text()
            self.value(depth)
        self.out += pickle.SETITEMS

    def instance(self, depth: int) -> None:
        self.name(of=("TTS.config", "Config") if self.is_mild else None)
        self.sequence(depth)
        if self.protocol >= 4 and self.draw.random() < 0.3:
            self.table(depth)
            self.out += pickle.NEWOBJ_EX
        else:
            self.out += pickle.NEWOBJ

    def built(self, depth: int) -> None:
        """BUILD on a name, on what was called, on an instance; with slots, with `__setstate__`, or anything."""
        makers = (self.name, self.call, self.instance, self.array, self.tensor, self.fetched)
        (self.instance if self.is_mild else self.draw.choice(makers))(depth)
        if self.draw.random() < 0.5:
            if self.draw.random() < 0.5:
                self.out += pickle.NONE
            self.out += pickle.EMPTY_DICT
            self.text(value=self.draw.choice(_ATTRIBUTES))
            self.value(depth)
            self.out += pickle.SETITEM
            if self.draw.random() < 0.5:
                self.out += pickle.NONE + pickle.TUPLE2
        else:
            self.value(depth)
        self.out += pickle.BUILD
        if self.draw.random() < 0.3 and not self.is_mild:  # and then it is called
            self.sequence(depth)
            self.out += pickle.REDUCE

    def old_instance(self, depth: int) -> None:
        module, name = self.draw.choice(HARMFUL)
        self.out += pickle.MARK
        if self.draw.random() < 0.5:
            self.text()
            self.out += pickle.INST + f"{module}\n{name}\n".encode()
        else:
            self.name(of=(module, name))
            self.text()
            self.out += pickle.OBJ

    def extension(self, _: int = 0) -> None:
        self.out += self.draw.choice((pickle.EXT1 + b"\x01", pickle.EXT2 + b"\x01\x00", pickle.EXT4 + b"\x01\0\0\0"))

    def storage(self, count: int | None = None) -> None:
        self.out += pickle.MARK
        self.text(value="storage")
        self.name(of=("torch", "FloatStorage"))
        self.text(value="0" if self.is_mild else self.draw.choice(("0", "0", "0", "1", "../data.pkl")))
        self.text(value=self.draw.choice(("cpu", "cpu", "cuda:0", "meta")))
        self.number(value=self.draw.choice((4, 4, 4, 0, -1, 2**40)) if count is None else count)
        if self.draw.random() < 0.3:
            self.out += pickle.NONE
        self.out += pickle.TUPLE + pickle.BINPERSID

    def tensor(self, _: int = 0) -> None:
        self.name(of=("torch._utils", "_rebuild_tensor_v2"))
        self.out += pickle.MARK
        self.storage(4 if self.is_mild or self.draw.random() < 0.8 else None)
        sizes = (0, 4, 1)
        if not self.is_mild:
            sizes = tuple(map(self.draw.choice, ((0, 0, 1, -1, 2**62), (4, 4, 2, 5, -4, 2**40), (1, 1, 0, -1, 2**61))))
        self.number(value=sizes[0])
        for size in sizes[1:]:
            self.out += pickle.MARK
            self.number(value=size)
            self.out += pickle.TUPLE
        self.out += pickle.NEWFALSE
        self.name(of=("collections", "OrderedDict"))
        self.out += pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE + pickle.REDUCE

    def array(self, _: int = 0) -> None:
        self.name(of=self.draw.choice((("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"))))
        self.out += pickle.MARK
        self.name(of=("numpy", "ndarray"))
        self.out += pickle.MARK
        self.number(value=self.draw.choice((0, 1, 2**40)))
        self.out += pickle.TUPLE
        self.raw()
        self.out += pickle.TUPLE + pickle.REDUCE + pickle.MARK
        self.number(value=1)
        self.out += pickle.MARK
        self.number(value=self.draw.choice((1, 2, 4, -1, 2**40, 2**62)))
        self.out += pickle.TUPLE
        self.name(of=("numpy", "dtype"))
        self.out += pickle.MARK
        self.text(value=self.draw.choice(("f4", "O8", "V16", "O", "i8", "U4", "f4,O", "M8[s]")))
        self.out += pickle.TUPLE + pickle.REDUCE + pickle.NEWFALSE
        self.raw()
        self.out += pickle.TUPLE + pickle.BUILD

    def persistent(self, depth: int) -> None:
        if self.draw.random() < 0.3:
            self.out += pickle.PERSID + b"0\n"
        elif self.draw.random() < 0.5:
            self.storage()
        else:
            self.value(depth)
            self.out += pickle.BINPERSID

    def doubled(self, _: int = 0) -> None:
        """A tuple of tuples of … of 2 ** 60 ends, as a key, as an item of a set or alone."""
        self.out += pickle.EMPTY_DICT
        self.number(value=1)
        for _unused in range(60):
            self.remember()
            self.out += pickle.LONG_BINGET + struct.pack("<I", self.remembered - 1) + pickle.TUPLE2
        use = self.draw.randrange(4)
        if use == 0:
            self.number()
            self.out += pickle.SETITEM
        elif use == 1:
            self.out += pickle.BINPERSID + pickle.TUPLE2
        elif use == 2:
            self.out += pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.TUPLE2
        else:
            self.out += pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE2


def write_program(seed: int, folder: Path) -> Path:
    """The file of a seed. Its carrier, its protocol and all that is in it follow from the seed."""
    draw = random.Random(seed)
    carrier = CARRIERS[seed % len(CARRIERS)]
    return carried(carrier, Program(draw, folder / CANARY).whole(), folder, draw)


def carried(carrier: str, code: bytes, folder: Path, draw: random.Random | None = None) -> Path:
    """A checkpoint or an array file with a program in it."""
    path = folder / ("program.npy" if carrier == "npy" else "program.pth")
    if carrier == "npy":
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
        path.write_bytes(buffer.getvalue() + code)
    elif carrier.endswith("zip"):
        _write_zip(path, code)
        if carrier == "nested zip":
            inner = path.read_bytes()
            _write_zip(path, _calls(("torch.storage", "_load_from_bytes"), inner))
    elif carrier == "tar":
        header = pickle.dumps(0, 2)
        with tarfile.open(path, "w") as archive:
            for name, content in (("storages", header + pickle.dumps([], 2)), ("tensors", header), ("pickle", code)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        magic, version, system = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}
        pickles = [*(pickle.dumps(part, 2) for part in (magic, version, system)), code, pickle.dumps(["0"], 2)]
        if carrier == "legacy header":
            pickles[(draw or random).choice((0, 1, 2, 4))] = code
        path.write_bytes(b"".join(pickles) + struct.pack("<q4f", 4, 1, 2, 3, 4))
    return path


def _write_zip(path: Path, code: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c/data.pkl", code)
        archive.writestr("c/byteorder", "little")
        archive.writestr("c/data/0", torch.arange(4.0).numpy().tobytes())
        archive.writestr("c/version", "3\n")


def _calls(function: tuple[str, str], argument: bytes) -> bytes:
    return (
        pickle.PROTO + b"\x03" + pickle.GLOBAL + "{}\n{}\n".format(*function).encode()
        + pickle.BINBYTES + struct.pack("<I", len(argument)) + argument + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
    )  # fmt: skip
