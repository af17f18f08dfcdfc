"""Questions: TOML files, and what is asked without one."""

import pytest

from hw.board.ulx3s import BOARDS, board
from sim.explore.fitting import FITTED
from sim.explore.question import DEFAULT_OBJECTIVES, default_question, read_question
from sim.explore.space import SpaceError

FILE = """
base = "tiny"
objectives = ["cycles", "energy_uj"]
fit = ["stream_vectors", "activation_words"]

[space]
columns = [4, 2]
granules = [1, 2, 3]

[limits]
block_ram = 40
images_per_second = 10.5
"""


def read(tmp_path, text, board_name="ulx3s-12f"):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return read_question(path, board(board_name))


def test_reads_all_of_a_file(tmp_path):
    question = read(tmp_path, FILE)
    assert question.space.base.name == "tiny"
    assert [(d.name, d.values) for d in question.space.dimensions] == [
        ("columns", (2, 4)),
        ("granules", (1, 2, 3)),
    ]
    assert question.objectives == ("cycles", "energy_uj")
    assert question.fit == ("activation_words", "stream_vectors")
    assert question.limits == {"block_ram": 40, "images_per_second": 10.5}


def test_what_a_file_leaves_out_is_the_default_of_the_board(tmp_path):
    default = default_question(board("ulx3s-45f"))
    assert read(tmp_path, "", "ulx3s-45f") == default
    assert default.space.base.name == "ulx3s-45f"
    assert default.objectives == DEFAULT_OBJECTIVES


def test_depths_that_are_not_varied_follow_the_model(tmp_path):
    question = read(tmp_path, "[space]\nweight_words = [256, 512]")
    assert question.fit == tuple(name for name in FITTED if name != "weight_words")
    assert read(tmp_path, "fit = []\n[space]\ncolumns = [2, 4]").fit == ()


def test_with_an_sdram_batches_are_varied_and_depths_do_not_follow_the_model(tmp_path):
    question = read(tmp_path, 'base = "ulx3s-85f-sdram"')
    varied = {dimension.name: dimension.values for dimension in question.space.dimensions}
    assert varied["batch"] == (1, 2, 4, 8)
    assert varied["spill_vectors"] == (512, 1024)
    assert question.fit == ("external_words",)
    default = {d.name for d in default_question(board("ulx3s")).space.dimensions}
    assert not {"batch", "spill_vectors", "activation_words"} & default
    both = "[space]\nexternal_memory = ['block RAM', '16Mx16']"
    assert read(tmp_path, both).fit == ("external_words",)
    text = 'base = "ulx3s-85f-sdram"\nfit = ["weight_words"]\n[space]\nrows = [8, 16]'
    assert read(tmp_path, text).fit == ("weight_words",)


def test_external_memories_are_in_the_order_of_their_size(tmp_path):
    question = read(tmp_path, "[space]\nexternal_memory = ['32Mx16', 'block RAM']\nbatch = [4, 1]")
    assert [d.values for d in question.space.dimensions] == [("block RAM", "32Mx16"), (1, 4)]


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_board_has_a_default(name):
    assert default_question(board(name)).space.size > 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base = ", "must be a TOML file"),
        ("trials = 3", "entry must be one of base, objectives, fit, space, limits, not trials"),
        ("base = 3", "base must be the name of a preset, not 3"),
        ('base = "huge"', "preset must be one of .*, not 'huge'"),
        ("space = 3", "space must be a table, not 3"),
        ("[space]\n", "space must have at least one size"),
        ("[space]\ncolumns = 4", "space.columns must be a list of whole numbers, not 4"),
        ("[space]\ncolumns = [4.5]", "space.columns must be a list of whole numbers"),
        ("[space]\ncolumns = [true]", "space.columns must be a list of whole numbers"),
        ("objectives = []", "objectives must have at least one of images_per_second"),
        ('objectives = ["area"]', "objectives must be of images_per_second.*, not 'area'"),
        ('objectives = ["lut4", "lut4"]', "objectives must not have one twice"),
        ("objectives = 3", "objectives must be a list of names, not 3"),
        ('fit = ["columns"]', "fit must be of weight_words, .*, not 'columns'"),
        ('fit = ["weight_words"]', "weight_words must be in space or in fit, not in both"),
        ("[space]\nspill_vectors = [0, 512]", "space.spill_vectors must be 0 or left out"),
        ("[space]\nbatch = [0, 1]", "space.batch must be of images, at least 1, not 0"),
        ("[space]\nbatch = ['2']", "space.batch must be a list of whole numbers"),
        ("[space]\nexternal_memory = [16]", "space.external_memory must be a list of names"),
        ("[space]\nexternal_memory = ['DDR3']", "space.external_memory must be of block RAM"),
        (
            "fit = []\n[space]\nexternal_memory = ['block RAM', '16Mx16']",
            "fit must have external_words where external_memory is varied",
        ),
        (
            "base = 'ulx3s-85f-sdram'\n[space]\nexternal_words = [8192]",
            "space.external_words must not have the value 8192: .* the size of the SDRAM 16Mx16",
        ),
        ("[limits]\narea = 3", "limits.area must be one of images_per_second"),
        ("[limits]\nlut4 = 0", "limits.lut4 must be a number above 0, not 0"),
        ('[limits]\nlut4 = "3"', "limits.lut4 must be a number above 0, not '3'"),
    ],
)
def test_refuses(tmp_path, text, message):
    with pytest.raises(SpaceError, match=f"space.toml.*{message}"):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpaceError, match=r"none.toml must be readable: No such file"):
        read_question(tmp_path / "none.toml", board("ulx3s"))
