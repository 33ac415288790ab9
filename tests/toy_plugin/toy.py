"""A plugin of stages that take no time, for tests of everything around them. Found by its entry point, like any."""

from genpipe import Dataset, Family, Pipeline, Stage, hookimpl


@hookimpl
def register_stages():
    return [
        Stage(
            name="toy_number",
            summary="Writes a number.",
            config="toy_parts:NumberConfig",
            build="toy_parts:number",
            gives="number",
        ),
        Stage(
            name="toy_sum",
            summary="Adds numbers.",
            config="toy_parts:SumConfig",
            build="toy_parts:add",
            takes={"left": "number", "right": "number"},
            gives="number",
        ),
        Stage(
            name="toy_total",
            summary="Adds any number of numbers.",
            config="toy_parts:TotalConfig",
            build="toy_parts:total",
            takes={"number.*": "number?", "extra": "number?"},
            gives="number",
        ),
        Stage(
            name="toy_curve",
            summary="Follows a loss curve.",
            config="toy_parts:CurveConfig",
            build="toy_parts:curve",
            takes={"number": "number"},
            gives="model",
        ),
    ]


@hookimpl
def register_datasets():
    return [
        Dataset(
            name="toy_file",
            summary="A file.",
            config="toy_parts:FileConfig",
            build="toy_parts:load_file",
            fingerprint="toy_parts:file_fingerprint",
            events=("vector",),
        )
    ]


@hookimpl
def register_families():
    return [
        Family(
            name="toy_family",
            summary="Answers nothing.",
            config="toy_parts:FamilyConfig",
            build="toy_parts:no_model",
            likelihood=None,
            events=("vector",),
            training="closed_form",
        )
    ]


@hookimpl
def register_pipelines():
    return [
        Pipeline(
            name="toy",
            summary="Two numbers and their sum.",
            config="toy_parts:ToyConfig",
            build="toy_parts:graph",
            check="toy_parts:check",
        ),
        Pipeline(
            name="toy_many",
            summary="Any number of numbers and their total.",
            config="toy_parts:ManyConfig",
            build="toy_parts:many_graph",
        ),
        Pipeline(
            name="toy_training",
            summary="A number, and a loss curve down to it.",
            config="toy_parts:TrainingConfig",
            build="toy_parts:training_graph",
        ),
    ]
