import re
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from compiler.program_file import load_program
from golden.export import model_bytes
from golden.networks import NETWORKS
from golden.random_models import RandomLimits, random_model
from host.classify import classify_images, read_images
from host.cli import cli
from hw.config import PRESETS, preset
from hw.isa import Counter
from sim.images import ImageError

COMMANDS = {
    "bitstream",
    "compile",
    "data",
    "disassemble",
    "doctor",
    "evaluate",
    "example-model",
    "export",
    "flash",
    "import",
    "profile",
    "run",
    "sim",
    "train",
}
BREVITAS = Path(__file__).parent.parent / "golden" / "data" / "brevitas-small.onnx"
HEADER = b"\xff\x00Part: LFE5U-%s-6CABGA381\x00"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(cli, arguments, prog_name="lqfpga")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_help_lists_all_commands():
    result = run("--help")
    assert result.exit_code == 0
    listed = set(re.findall(r"^  ([a-z-]+)  ", result.output.split("Commands:")[1], re.MULTILINE))
    assert listed >= COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS - {"train"}))
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "lqfpga " + command in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bitstream", "--board", "arty"], "board must be one of ulx3s-12f"),
        (["bitstream", "--preset", "huge"], "preset must be one of"),
        (["bitstream", "--clock", "61.3"], "clock must be reachable"),
        (["compile", "missing.onnx"], "missing.onnx"),
        (["compile", "missing.onnx", "--preset", "huge"], "preset must be one of"),
        (["disassemble", "missing.lqp"], "program file must be readable"),
        (["run", "--port", "/dev/null", "missing.lqp", "a.png"], "program file must be readable"),
        (["sim", "missing.onnx"], "missing.onnx"),
        (["evaluate", "missing.onnx"], "missing.onnx: no such file or directory"),
        (["import", "no.npz", "--network", "resnet20"], "checkpoint must be readable, not no.npz"),
        (["import", "no.npz", "--network", "lenet"], "network must be one of alexnet, densenet121"),
        (["flash"], "bitstream build/bitstream/ulx3s/ulx3s.bit must exist"),
        (["flash", "--board", "arty"], "board must be one of"),
    ],
)
def test_errors_of_the_user_are_one_line(folder, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["compile"], ["bitstream", "--seeds", "many"], ["run", "a", "b"]]
)
def test_wrong_usage_has_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2


def test_traceback_option_shows_where_an_error_comes_from():
    with pytest.raises(ValueError, match="^board must be one of"):
        run("--traceback", "bitstream", "--board", "arty")


def test_compile_says_what_the_stages_and_the_inferences_take(folder, monkeypatch):
    tiny = preset("tiny")
    small = replace(tiny, memory=replace(tiny.memory, external_words=1024))
    monkeypatch.setitem(PRESETS, "tiny", small)
    limits = RandomLimits(image=(5, 8), channels=10, planes=3, blocks=(1, 2), kernels=(1, 2, 3))
    (folder / "net.onnx").write_bytes(model_bytes(random_model(3, limits)))
    result = run("compile", "net.onnx", "--preset", "tiny")
    program = load_program(folder / "net.lqp")
    assert len(program.stages) > 1
    stages = " + ".join(str(len(stage.memory)) for stage in program.stages)
    assert result.output == (
        f"net.lqp: {len(program.layers)} layers, {stages} words to load, then "
        f"{len(program.memory)} of 1024 words of external memory to run\n"
    )
    assert f"stage 2 of {len(program.stages)}" in run("disassemble", "net.lqp").output


def test_example_model_can_be_compiled(folder):
    line = "example-model resnet20 --weights 1 --activations 3 --image-size 8 -o small.onnx"
    result = run(*line.split())
    assert result.exit_code == 0
    assert result.output.endswith(f"small.onnx: {(folder / 'small.onnx').stat().st_size} bytes\n")
    result = run("compile", "small.onnx", "--preset", "ulx3s-85f")
    assert result.output.startswith("small.lqp: 20 layers, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet",), "error: network must be one of resnet20, "),
        (("resnet20", "--image-size", "9"), "error: image size of resnet20 must be a multiple of"),
    ],
)
def test_example_model_says_what_is_wrong_and_writes_nothing(folder, arguments, message):
    result = run("example-model", *arguments, "-o", "small.onnx")
    assert result.exit_code == 1
    assert result.stderr.startswith(message)
    assert not list(folder.iterdir())


def test_example_model_lists_all_networks():
    text = run("example-model", "--help").output
    assert [name for name in NETWORKS if not re.search(rf"\s{name}[,\s]", text)] == []


@pytest.mark.parametrize("bits", ["0", "9", "two"])
def test_example_model_knows_which_widths_there_are(folder, bits):
    result = run("example-model", "resnet20", "--weights", bits, "-o", "small.onnx")
    assert result.exit_code == 2
    assert f"bits must be 1..8 or float, not '{bits}'" in result.stderr


def test_missing_package_names_the_doctor(monkeypatch):
    monkeypatch.setitem(sys.modules, "golden.data", None)

    def fail(*arguments, **options):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setitem(sys.modules, "golden.data", SimpleNamespace(prepare=fail))
    result = run("data")
    assert result.exit_code == 1
    assert result.stderr == "error: Python package torch must be installed: run `lqfpga doctor`\n"


def test_doctor_exit_code_follows_the_findings(monkeypatch):
    monkeypatch.setattr("host.doctor.REQUIREMENTS", ())
    monkeypatch.setattr("host.doctor.examine", lambda: [])
    assert run("doctor").exit_code == 0
    broken = SimpleNamespace(is_ok=False)
    monkeypatch.setattr("host.doctor.examine", lambda: [broken])
    monkeypatch.setattr("host.doctor.print_findings", lambda findings, console: None)
    assert run("doctor").exit_code == 1


class TestFlash:
    @pytest.fixture
    def bitstream(self, folder):
        path = folder / "build" / "bitstream" / "ulx3s-12f" / "ulx3s-12f.bit"
        path.parent.mkdir(parents=True)
        path.write_bytes(HEADER % b"12F" + bytes(300))
        return path

    def loader(self, folder, monkeypatch, code=0):
        script = folder / "loader"
        script.write_text(
            f"#!{sys.executable}\nimport sys\nopen('called', 'w').write(' '.join(sys.argv[1:]))\n"
            f"sys.exit({code})\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("OPENFPGALOADER", str(script))

    def test_programs_what_was_built(self, folder, bitstream, monkeypatch):
        self.loader(folder, monkeypatch)
        assert run("flash", "--board", "ulx3s-12f").exit_code == 0
        called = (folder / "called").read_text()
        assert called == "-b ulx3s build/bitstream/ulx3s-12f/ulx3s-12f.bit"

    def test_permanent_writes_the_configuration_flash(self, folder, bitstream, monkeypatch):
        self.loader(folder, monkeypatch)
        assert run("flash", "--board", "ulx3s-12f", "--permanent").exit_code == 0
        assert (folder / "called").read_text().startswith("-b ulx3s -f ")

    def test_missing_loader_says_what_to_install(self, folder, bitstream, monkeypatch):
        monkeypatch.setenv("OPENFPGALOADER", str(folder / "nowhere"))
        result = run("flash", "--board", "ulx3s-12f")
        assert result.exit_code == 1
        assert "sudo apt install openfpgaloader" in result.stderr

    def test_failure_explains_the_usb_rule(self, folder, bitstream, monkeypatch):
        self.loader(folder, monkeypatch, code=1)
        result = run("flash", "--board", "ulx3s-12f")
        assert result.exit_code == 1
        assert "failed with exit code 1" in result.stderr
        assert 'ATTR{idProduct}=="6015"' in result.stderr

    def test_bitstream_of_another_device_is_refused(self, folder, bitstream, monkeypatch):
        self.loader(folder, monkeypatch)
        result = run("flash", str(bitstream), "--board", "ulx3s-85f")
        assert "must be for LFE5U-85F, not LFE5U-12F" in result.stderr
        assert not (folder / "called").exists()

    def test_file_that_is_no_bitstream_is_refused(self, folder):
        (folder / "x.bit").write_bytes(b"text")
        assert "x.bit must be an ECP5 bitstream" in run("flash", "x.bit").stderr


class FakeAccelerator:
    """Answers with the sum of the image as the logit of class 2."""

    def __init__(self):
        self.runs = []

    def classify_batch(self, program, images):
        assert len(images) <= program.images
        self.runs.append(len(images))
        return [[0, -5, sum(image)] for image in images]

    def counters(self):
        return {Counter.TOTAL: 1234}


@pytest.fixture
def program():
    return SimpleNamespace(image_shape=(2, 3, 3), labels=("cat", "dog", "frog"), images=1)


def test_run_prints_class_name_and_cycles(folder, program):
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save("a.png")
    np.savez("b.npz", images=np.ones((2, 2, 3, 3), np.uint8), labels=np.array([2, 0]))
    images = read_images([folder / "a.png", folder / "b.npz"], program)
    texts = [str(answer) for answer in classify_images(FakeAccelerator(), program, images)]
    assert texts == [
        "a.png: frog (2), 1234 cycles",
        "0: frog (2), 1234 cycles",
        "1: frog (2), labelled 0, 1234 cycles",
    ]


def test_images_run_in_batches_of_what_the_program_takes(folder, program):
    np.savez("b.npz", images=np.ones((5, 2, 3, 3), np.uint8))
    program.images = 2
    accelerator = FakeAccelerator()
    answers = list(classify_images(accelerator, program, read_images([folder / "b.npz"], program)))
    assert [answer.image for answer in answers] == ["0", "1", "2", "3", "4"]
    assert accelerator.runs == [2, 2, 1]
    assert str(answers[0]) == "0: frog (2), 1234 cycles for 2 images"


def test_picture_of_the_wrong_size_is_refused(folder, program):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save("a.png")
    with pytest.raises(ImageError, match=r"a.png must be 3 x 2 pixels, not 4 x 4$"):
        list(read_images([folder / "a.png"], program))


def test_file_that_is_no_picture_is_refused(folder, program):
    (folder / "a.png").write_text("hello")
    with pytest.raises(ImageError, match="must be a readable picture"):
        list(read_images([folder / "a.png"], program))


def test_qonnx_file_compiles_but_is_not_evaluated(folder):
    model = str(BREVITAS)
    assert run("compile", model, "--preset", "tiny", "-o", "small.lqp").exit_code == 0
    assert load_program(folder / "small.lqp").image_shape == (12, 12, 3)
    result = run("bench", model)
    assert result.exit_code == 1
    assert "must be a file that onnxruntime runs, not QONNX" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["small.lqp"]
