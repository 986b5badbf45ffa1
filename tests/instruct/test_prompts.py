from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.errors import UsageError
from radialog_instruct.prompts import CONSTANTS, PromptLibrary
from radialog_instruct.tasks import TASKS

TEMPLATES = sorted({task.template for task in TASKS})


@pytest.fixture(scope="module")
def prompts() -> PromptLibrary:
    return PromptLibrary()


@pytest.fixture
def own(tmp_path: Path) -> PromptLibrary:
    (tmp_path / "instruct").mkdir()
    return PromptLibrary(tmp_path)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_task_has_ten_distinct_variants(prompts: PromptLibrary, template: str) -> None:
    variants = prompts.variants(template)
    given = {
        "finding": "pleural effusion",
        "indication": None,
        "question": "Are there any signs in the lung?",
        "options": "yes, no",
        "several": False,
    }
    given |= {"missing": "edema", "wrong": "fracture", "region": "heart", "plural": False}
    texts = {prompts.render(f"instruct/{template}", v, **given) for v in variants}
    families = ("add_", "both_", "remove_") if template == "correction" else ("",)
    assert variants == tuple(f"{family}v{i:02d}" for family in families for i in range(1, 11))
    assert len(texts) == len(variants)
    assert all(text and text[-1] in ".?" and "{" not in text for text in texts)


def test_the_published_layout_is_byte_exact(prompts: PromptLibrary) -> None:
    instruction = (
        "You are to act as a radiologist and write the finding section of a chest x-ray radiology report for this "
        "X-ray image and the given predicted findings. Write in the style of a radiologist, write one fluent text "
        "without enumeration, be concise and don't provide explanations or reasons."
    )
    assert prompts.render(CONSTANTS, "report") == instruction
    project = prompts.render(
        CONSTANTS, "report_with_findings", image="<image>", findings="edema", instruction=instruction
    )
    assert project == f"<image>. Predicted Findings: edema. {instruction}"
    align = prompts.render(
        "chat/radialog_v1", "report_with_findings", image="<IMG>" * 32, findings="edema", instruction=instruction
    )
    assert align == f"Image information: {'<IMG>' * 32}. Predicted Findings: edema. {instruction}"


def test_an_undefined_variable_names_file_line_and_variable(prompts: PromptLibrary) -> None:
    with pytest.raises(UsageError) as caught:
        prompts.render("instruct/findings_qa_binary", "v05", disease="edema")
    file = prompts.folder / "instruct" / "findings_qa_binary.jinja"
    line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if "block v05" in text)
    assert str(caught.value) == f"{file}:{line}: 'finding' is undefined. the variables given are: disease"


def test_an_undefined_variable_of_a_constant_names_the_calling_template(prompts: PromptLibrary) -> None:
    with pytest.raises(UsageError, match=r"instruct/findings_qa_binary\.jinja:\d+: 'finding' is undefined"):
        prompts.render("instruct/findings_qa_binary", "v01")


def test_a_syntax_error_names_file_and_line(own: PromptLibrary) -> None:
    (own.folder / "instruct/t.jinja").write_text("{#- version: 1 -#}\n{% block v01 %}{{ oops {% endblock %}\n")
    with pytest.raises(UsageError, match=r"t\.jinja:2: "):
        own.variants("t")


def test_the_sandbox_refuses_to_leave_the_template(own: PromptLibrary) -> None:
    (own.folder / "instruct/t.jinja").write_text(
        "{#- version: 1 -#}\n{% block v01 %}{{ x.__class__.mro() }}{% endblock %}"
    )
    with pytest.raises(UsageError, match=r"t\.jinja:2: access to attribute '__class__'"):
        own.render("instruct/t", "v01", x="")


@pytest.mark.parametrize(
    ("text", "message"),
    [("nothing here", "no variant block"), ("{% block v01 %}x{% endblock %}", "states no version")],
)
def test_a_template_without_variant_or_version_is_refused(own: PromptLibrary, text: str, message: str) -> None:
    (own.folder / "instruct/t.jinja").write_text(text)
    with pytest.raises(UsageError, match=message):
        own.use("t", own.variants("t")[0])


def test_a_missing_template_or_block_or_folder_is_named(own: PromptLibrary, prompts: PromptLibrary) -> None:
    with pytest.raises(UsageError, match=r"gone\.jinja: no such template"):
        own.variants("gone")
    with pytest.raises(UsageError, match="no block 'v99'"):
        prompts.render("instruct/impression", "v99")
    with pytest.raises(UsageError, match="no such template folder"):
        PromptLibrary(own.folder / "nowhere")


def test_the_hash_follows_the_text_and_the_constants_it_uses(own: PromptLibrary, prompts: PromptLibrary) -> None:
    file = own.folder / "instruct/t.jinja"
    file.write_text("{#- version: 3 -#}\n{% block v01 %}a{% endblock %}")
    first = own.use("t", "v01")
    file.write_text("{#- version: 3 -#}\n{% block v01 %}b{% endblock %}")
    second = PromptLibrary(own.folder).use("t", "v01")
    assert (first.template_id, first.version) == ("t/v01", 3)
    assert first.hash != second.hash
    assert len(prompts.hash("instruct/impression")) == 32
