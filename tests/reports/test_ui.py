"""MLflow's UI: names that can be told apart, the view that opens, versions that say what they hold."""

import itertools
import json
import shutil
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from checkpoints.catalogue import catalogue
from reports import served, tracking
from reports.__main__ import main
from reports.names import run_name, short_checkpoint
from reports.options import TrackingOptions
from reports.store import prepared
from reports.ui import MEASUREMENTS, NIGHTS
from runtime.bundle.formats import FORMATS
from tests.conftest import ROOT

SEEN = 20  # characters of a name in MLflow's lists


@pytest.fixture
def store(store_uri) -> TrackingOptions:
    return TrackingOptions(uri=store_uri)


@pytest.fixture
def tracked(fp16, store, tmp_path) -> TrackingOptions:
    """The store with a job's runs."""
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    tracking.track(tmp_path / fp16.bundle.path.name, store)
    return store


def names_of(checkpoint, precisions, upsamplers, modes):
    for precision, form, upsampler, mode in itertools.product(precisions, FORMATS, upsamplers, modes):
        options = SimpleNamespace(format=form, precision=precision, upsampler=upsampler, mode=mode)
        manifest = SimpleNamespace(checkpoint=SimpleNamespace(name=checkpoint), options=options)
        on_a_mac = ("coreml",) if FORMATS[form].is_core_ml else ()
        for what in ("job", "torch", "openvino", *FORMATS[form].engines, *on_a_mac):
            yield run_name(manifest, what)


def test_names_of_runs_differ_where_mlflow_shows_them():
    precisions, upsamplers, modes = (
        [path.stem for path in (ROOT / "conf" / group).glob("*.yaml")] for group in ("precision", "upsampler", "stream")
    )
    shown = [name[:SEEN] for one in catalogue() for name in names_of(one, precisions, upsamplers, modes)]
    assert len(shown) == len(set(shown)) > 10000
    assert all(name.startswith(short_checkpoint("ljspeech_hifigan_v2")) for name in
               names_of("ljspeech_hifigan_v2", precisions, upsamplers, modes))  # fmt: skip


def test_the_view_is_kept_with_the_experiment_also_of_an_older_store(store):
    with prepared(store) as (client, experiment):
        ((key, state),) = MEASUREMENTS.tag.items()
        assert client.get_experiment(experiment).tags[key] == state
        client.set_experiment_tag(experiment, key, "{}")
    with prepared(store) as (client, experiment):
        kept = json.loads(client.get_experiment(experiment).tags[key])
    assert {"metrics.`snr_db`", "params.`engine`", "tags.`verdict`"} <= set(kept["selectedColumns"])
    assert kept["searchFilter"] == "tags.kind = 'measure'"


def test_the_view_has_no_column_that_is_never_filled(tracked):
    with prepared(tracked) as (client, experiment):
        runs = client.search_runs([experiment], MEASUREMENTS.only)
    assert len(runs) == 2
    filled = {f"{kind}.{name}" for run in runs for kind in ("metrics", "params", "tags")
              for name in getattr(run.data, kind)}  # fmt: skip
    assert set(MEASUREMENTS.columns) <= filled


def test_ui_says_where_the_pages_are(store, monkeypatch, capsys):
    monkeypatch.setattr(served, "serve", lambda options, port: None)
    assert main(["ui", "--uri", store.uri, "--port", "5123"]) == 0
    pages = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(pages) == ["measurements", "versions"]
    shown = urlsplit(pages["measurements"])
    assert shown.netloc == "127.0.0.1:5123" and shown.fragment.startswith("/experiments/1/runs?")
    asked = parse_qs(shown.fragment.partition("?")[2])
    assert asked == {"workflowType": ["machine_learning"], "viewStateShareKey": [MEASUREMENTS.key]}
    with prepared(TrackingOptions(uri=store.uri, experiment="voxport-nights")):
        pass
    main(["ui", "--uri", store.uri])
    assert NIGHTS.key in capsys.readouterr().out


def test_a_version_says_what_it_is_for_and_what_was_measured(fp16, tracked):
    series = fp16.bundle.manifest.series
    with prepared(tracked) as (client, _):
        (version,) = client.search_model_versions(f"name = '{series}'")
        (model,) = client.search_registered_models("tags.precision = 'fp16' and tags.format = 'mlprogram'")
    target = fp16.bundle.manifest.options.target
    assert model.name == series and target in model.description
    assert (version.tags["target"], version.tags["bundle_key"]) == (target, fp16.bundle.manifest.key)
    worst = next(one for one in fp16.measurements if one.engine == "mil").worst.agreement.snr_db
    assert f"for {target}, " in version.description and f"{worst:.1f} dB to PyTorch" in version.description
    assert "RTF " in version.description


def test_one_run_is_not_compared(tracked, capsys):
    with prepared(tracked) as (client, experiment):
        run = client.search_runs([experiment])[0].info.run_id
    for asked in ([run], [run, run[:12]]):
        assert main(["compare", *asked, "--uri", tracked.uri]) == 2
        assert "it takes two runs or more to compare" in capsys.readouterr().err
