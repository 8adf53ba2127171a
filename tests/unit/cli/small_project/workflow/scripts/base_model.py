"""A manifest of a model that nobody loads."""

from distillery.jobs.runner import run_script


def main(manifest, name, spec):
    from distillery.files import write_json
    from distillery.models.manifest import Manifest, Vocabulary

    vocabulary = Vocabulary(size=1, tokenizer_sha256="")
    made = Manifest(name=name, kind="random", architecture="causal", identity=name, files={}, vocabulary=vocabulary,
                    parameters=1000, layers=1)  # fmt: skip
    write_json(manifest, made.model_dump(mode="json"))


run_script("base_model", main, globals())
