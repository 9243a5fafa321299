import shutil

from runtime.engines.inspect import fingerprint
from runtime.measuring.compare import changed_ops, first_divergence, same_programs
from runtime.mil.package import files_of, read_specification
from tests.reports.worsened import worsened


def test_a_fingerprint_is_of_what_is_computed_not_of_how_it_was_written(mlpackage, tmp_path):
    copy = shutil.copytree(mlpackage, tmp_path / "copy.mlpackage")
    specification = read_specification(copy)
    specification.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"] = "1999-01-01"
    files_of(copy)[0].write_bytes(specification.SerializeToString())
    (copy / "Manifest.json").write_text((copy / "Manifest.json").read_text() + " ")
    assert fingerprint(copy) == fingerprint(mlpackage)
    specification.mlProgram.functions["main"].block_specializations["CoreML8"].operations[-1].type = "relu"
    files_of(copy)[0].write_bytes(specification.SerializeToString())
    assert fingerprint(copy) != fingerprint(mlpackage)


def test_other_weights_are_another_program_and_their_op_is_named(fp16, tmp_path):
    worse = worsened(fp16.bundle, tmp_path, "worse")
    assert same_programs(fp16.bundle, fp16.bundle) and not same_programs(fp16.bundle, worse)
    assert changed_ops(fp16.bundle, worse) == {}
    assert first_divergence(fp16.bundle, fp16.bundle) == ""
    assert "is the first that differs" in first_divergence(fp16.bundle, worse)


def test_another_format_is_not_compared_op_by_op(fp16, convert_job):
    onnx = convert_job("format=onnx", "precision=fp32").bundle
    assert not same_programs(fp16.bundle, onnx)
    assert first_divergence(fp16.bundle, onnx).startswith("not looked for")
    assert changed_ops(fp16.bundle, onnx)["generator.Conv"].startswith("0 -> ")
