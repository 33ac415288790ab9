from genpipe.digest import CodeDigests


def test_what_only_moves_results_about_is_no_part_of_a_stages_code():
    code = CodeDigests().closure(["genpipe.pipelines.data.stage", "genpipe.pipelines.sample.stage"])
    assert {"genpipe.data.splits", "genpipe.pipelines.data.convert", "genpipe.parallel.ranges"} <= set(code)
    assert not [name for name in code if name.startswith(("genpipe.execution", "genpipe.stores"))]
    assert not {"genpipe.parallel.actors", "genpipe.parallel.ray_data", "genpipe.heartbeat"} & set(code)


def test_a_stages_templates_are_part_of_its_code():
    code = CodeDigests().closure(["genpipe.pipelines.report.stage"])
    assert {"genpipe.pipelines.report/page.html.j2", "genpipe.pipelines.report.panels/latent.html.j2"} <= set(code)
