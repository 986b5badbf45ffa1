"""A small structured-report template of our own, and reports that fit the demonstration labels.

The files have the layout of Rad-ReStruct (Pellegrini et al., 2023), so everything that reads Rad-ReStruct reads them:
``template_final_clean.json``, ``report_keys.json``, ``answer_options.json``, ``max_instances.json``,
``id_to_img_mapping_frontal_reports.json``, ``{split}_ids.json``, ``{split}_qa_pairs/N.json``,
``{split}_vectorized_answers/N.json`` and ``new_reports/N.json``. Areas, options and answers are ours and synthetic.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from radialog_instruct.ids import pick
from radialog_instruct.records import Split

Json = Any
SPLITS = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}
REGION = {"answer_type": "multi_choice", "options": ["left lung", "right lung", "unspecified"]}
DEGREE = {"answer_type": "single_choice", "options": ["mild", "no selection", "severe"]}
EXTENT = {"answer_type": "single_choice", "options": ["diffuse", "focal", "no selection"]}
TEMPLATE: list[Json] = [
    {
        "area": "foreign objects",
        "objects": {
            "medical device": {"infos": {"body_region": {"answer_type": "fixed_choice", "options": ["thorax"]}}}
        },
    },
    {
        "area": "respiratory system",
        "sub_areas": {
            "lung": {
                "signs": {"opacity": {"infos": {"body_region": REGION, "attributes": EXTENT}}},
                "diseases": {
                    "pulmonary atelectasis": {"infos": {"body_region": REGION, "degree": DEGREE}},
                    "pneumonia": {"infos": {"body_region": REGION}},
                    "nodule": {"infos": {"body_region": REGION}},
                },
            },
            "pleura": {
                "diseases": {
                    "pleural effusion": {"infos": {"body_region": REGION, "degree": DEGREE}},
                    "pneumothorax": {"infos": {"body_region": REGION}},
                },
            },
        },
    },
    {
        "area": "cardiovascular system",
        "diseases": {"cardiomegaly": {"infos": {"degree": DEGREE}}},
    },
]
FINDING_OF = {
    "medical device": "Support Devices",
    "opacity": "Lung Opacity",
    "pulmonary atelectasis": "Atelectasis",
    "pneumonia": "Pneumonia",
    "nodule": "Lung Lesion",
    "pleural effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "cardiomegaly": "Cardiomegaly",
}
MAX_INSTANCES = {"lung/opacity": 2}
LEVEL_1 = {
    "objects": "Are there any {area}?",
    "signs": "Are there any signs in the {area}?",
    "diseases": "Are there any diseases in the {area}?",
}
LEVEL_3 = {
    "body_region": "In which part of the body?",
    "attributes": "What are the attributes?",
    "degree": "What is the degree?",
}


def write_structured_reports(studies: list[tuple[str, Split, tuple[str, ...]]], target: Path) -> None:
    """Write template and reports.

    Args:
        studies: Study id, split and positive classes; report number N is the place in this list, from 1.
        target: Folder of the demonstration data; the files go to ``rad_restruct`` under it.
    """
    folder = target / "rad_restruct"
    keys = report_keys()
    options = sorted({o for _, _, infos in topics() for i in infos.values() for o in i["options"]} | {"yes", "no"})
    write(folder / "template_final_clean.json", TEMPLATE)
    write(folder / "report_keys.json", keys)
    write(folder / "answer_options.json", {option: number for number, option in enumerate(options)})
    write(folder / "max_instances.json", MAX_INSTANCES)
    images = {str(n): [study_id] for n, (study_id, _, _) in enumerate(studies, start=1)}
    write(folder / "id_to_img_mapping_frontal_reports.json", images)
    for split, name in SPLITS.items():
        ids = [str(n) for n, study in enumerate(studies, start=1) if study[1] is split]
        write(folder / f"{name}_ids.json", ids)
    for number, (study_id, split, present) in enumerate(studies, start=1):
        name, answers = SPLITS[split], instances(study_id, present)
        write(folder / f"{name}_qa_pairs/{number}.json", questions(answers))
        write(folder / f"{name}_vectorized_answers/{number}.json", vector(answers, keys))
        write(folder / f"new_reports/{number}.json", filled_template(answers))


def topics() -> list[tuple[str, str, dict[str, Json]]]:
    """List (area and kind as in a path, topic, infos) in the template's order."""
    found = []
    for area in TEMPLATE:
        for name, content in (area.get("sub_areas") or {area["area"]: area}).items():
            for kind in ("objects", "signs", "diseases"):
                for topic, entry in content.get(kind, {}).items():
                    found.append((f"{name}_{kind}", topic, entry["infos"]))
    return found


def instances(study_id: str, present: tuple[str, ...]) -> dict[str, dict[str, list[str]]]:
    """Answer every topic whose finding is present; the details are chosen by hash."""
    answers: dict[str, dict[str, list[str]]] = {}
    for path, topic, infos in topics():
        if FINDING_OF[topic] in present:
            answers[f"{path}_{topic}"] = {
                info: [choice["options"][pick(len(choice["options"]), 0, "demo-structured", study_id, topic, info)]]
                for info, choice in infos.items()
            }
    return answers


def questions(answers: dict[str, dict[str, list[str]]]) -> list[Json]:
    """Write the hierarchical question list of one report; a "no" closes what lies below."""
    asked: list[Json] = []
    done: set[str] = set()
    for path, _, _ in topics():
        if path in done:
            continue
        done.add(path)
        area, kind = path.rsplit("_", 1)
        below = [(topic, infos) for p, topic, infos in topics() if p == path]
        some = any(f"{path}_{topic}" in answers for topic, _ in below)
        first = [LEVEL_1[kind].format(area=area), ["yes" if some else "no"]]
        asked.append([*first, [], binary(path)])
        for topic, infos in below if some else []:
            asked.extend(topic_questions(path, area, topic, infos, answers.get(f"{path}_{topic}"), first))
    return asked


def topic_questions(
    path: str, area: str, topic: str, infos: dict[str, Json], answer: dict[str, list[str]] | None, first: Json
) -> list[Json]:
    place = "image" if area == "foreign objects" else area
    second = [f"Is there {topic} in the {place}?", ["yes" if answer else "no"]]
    rows = [[*second, [first], binary(f"{path}_{topic}")]]
    history = [first, second]
    for info, choice in infos.items() if answer else ():
        assert answer is not None
        row = [LEVEL_3[info], answer[info]]
        rows.append([*row, list(history), {**choice, "path": f"{path}_{topic}_{info}"}])
        history.append(row)
    if answer and MAX_INSTANCES.get(f"{area}/{topic}", 1) > 1:
        more = [f"Is there another case of {topic} in the {place}?", ["no"]]
        rows.append([*more, list(history), binary(f"{path}_{topic}")])
    return rows


def binary(path: str) -> Json:
    return {"answer_type": "single_choice", "options": ["yes", "no"], "path": path}


def report_keys() -> list[str]:
    """List the positions of the answer vector."""
    keys: list[str] = []
    for path, topic, infos in topics():
        if f"{path}_yes" not in keys:
            keys += [f"{path}_yes", f"{path}_no"]
        for number in range(MAX_INSTANCES.get(f"{path.rsplit('_', 1)[0]}/{topic}", 1)):
            keys += [f"{path}_{topic}_{answer}_{number}" for answer in ("yes", "no")]
            keys += [f"{path}_{topic}_{i}_{o}_{number}" for i, choice in infos.items() for o in choice["options"]]
    return keys


def vector(answers: dict[str, dict[str, list[str]]], keys: list[str]) -> dict[str, bool]:
    """Turn answers into the vector; what lies below a "no" stays false."""
    true = set()
    for path, topic, infos in topics():
        some = any(name.startswith(f"{path}_") for name in answers)
        true.add(f"{path}_{'yes' if some else 'no'}")
        for number in range(MAX_INSTANCES.get(f"{path.rsplit('_', 1)[0]}/{topic}", 1)):
            answer = answers.get(f"{path}_{topic}") if number == 0 else None
            true.add(f"{path}_{topic}_{'yes' if answer else 'no'}_{number}")
            true |= {f"{path}_{topic}_{i}_{o}_{number}" for i in infos for o in (answer or {}).get(i, ())}
    return {key: key in true for key in keys}


def filled_template(answers: dict[str, dict[str, list[str]]]) -> Json:
    """Return the template with the instances of one report."""
    report = copy.deepcopy(TEMPLATE)
    for area in report:
        for name, content in (area.get("sub_areas") or {area["area"]: area}).items():
            for kind in ("objects", "signs", "diseases"):
                for topic, entry in content.get(kind, {}).items():
                    answer = answers.get(f"{name}_{kind}_{topic}")
                    entry["instances"] = [answer] if answer else []
    return report


def write(path: Path, value: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
