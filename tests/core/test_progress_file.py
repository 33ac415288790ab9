import json

from genpipe.steps import ProgressFile


def test_a_report_is_made_again_as_a_sign_of_life_and_no_number_twice(tmp_path):
    progress = ProgressFile(tmp_path / "step.progress.jsonl", interval_seconds=3600)
    progress.again()
    progress(1, 9, loss=0.5)
    progress.again()
    progress.again()
    progress.close()
    lines = [json.loads(line) for line in (tmp_path / "step.progress.jsonl").read_text().splitlines()]
    assert [(line["at"], line["total"], line["metrics"]) for line in lines] == [
        (0, None, {}),
        (1, 9, {"loss": 0.5}),
        (1, 9, {}),
    ]
