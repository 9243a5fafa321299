"""An address shows its secret to nobody but the client that asks for it."""

import copy
import dataclasses
import json
import pickle

import pytest
import yaml

from reports.options import TrackingOptions
from runtime.machine.address import Address, scrubbed

SECRET = "s3cr3t-%2Ft"
WITH_SECRETS = {
    f"http://user:{SECRET}@host:5000/path": "http://user:***@host:5000/path",
    f"https://:{SECRET}@host": "https://:***@host",
    f"http://{SECRET}@host": "http://***@host",
    f"http://host/x?token={SECRET}&{SECRET}": "http://host/x?token=***&***",
    f"http://host/#{SECRET}": "http://host/#***",
    f"postgresql+psycopg2://user:{SECRET}@host/db?sslmode=require&password={SECRET}": (
        "postgresql+psycopg2://user:***@host/db?sslmode=require&password=***"
    ),
    f"mssql+pyodbc:///?odbc_connect=PWD%3D{SECRET}": "mssql+pyodbc:///?odbc_connect=***",
    f"user:{SECRET}@host:5000": "user:***@host:5000",
    f"http://user:{SECRET}/with@signs?@host": "http://user:***@host",
}
WITHOUT = [
    "sqlite:///mlflow.db", "sqlite:////home/me@corp/mlflow.db", "http://localhost:5000", "http://[::1]:5000",
    "http://host:80/me@corp", "postgresql+psycopg2://mlflow@localhost/mlflow", "", "mlruns",
]  # fmt: skip


def ways(address):
    options = TrackingOptions(uri=address)
    yield from (str(address), repr(address), f"{address}", f"{address:>9}", str([address]))
    yield from (json.dumps([address]), json.dumps(dataclasses.asdict(options)), repr(options), repr([address]))
    yield from (yaml.safe_dump(dataclasses.asdict(options)), address + "", "".join([address]), address.place)
    yield from (
        str(copy.deepcopy(address)),
        pickle.dumps(address).decode("latin1"),
        pickle.dumps(options).decode("latin1"),
    )
    yield address.scrubbed(f"failed: {address.revealed()}")
    if not address.problem:  # a client takes another part of it for the password
        yield address.scrubbed(f"failed: {SECRET} and s3cr3t-/t")


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_no_way_of_showing_an_address_shows_its_secret(text):
    address = Address(text)
    assert address.revealed() == text and address.has_secret
    for shown in ways(address):
        assert "s3cr3t" not in shown, shown
    assert address == WITH_SECRETS[text]


@pytest.mark.parametrize("text", WITHOUT)
def test_an_address_without_a_secret_is_shown_as_it_is(text):
    assert Address(text) == text and not Address(text).has_secret and not Address(text).problem
    assert scrubbed(f"at {text} and") == f"at {text} and"


def test_options_keep_the_secret_for_the_client_through_every_copy_in_memory():
    options = TrackingOptions(uri=f"http://user:{SECRET}@host")
    again = dataclasses.replace(options, tags={"a": "b"})
    assert again.address.revealed() == options.address.revealed() == f"http://user:{SECRET}@host"
    assert Address(options.address) == options.address and Address("http://user:***@host").is_incomplete


def test_everybody_who_goes_to_the_same_place_finds_what_the_others_logged():
    places = {Address(uri).place for uri in ("http://a:b@host:5000/", "http://c@host:5000", "http://host:5000?x=y")}
    assert places == {"http://host:5000"}


def test_a_password_that_no_client_reads_as_it_is_meant_is_a_sentence():
    assert Address("http://user:p%2Fw@host").problem == ""
    problem = Address("http://user:p/w#@host").problem
    assert "/ as %2F" in problem and "# as %23" in problem and "p/w" not in problem


def test_variables_of_the_environment_are_read_and_kept_as_the_expression(monkeypatch):
    monkeypatch.setenv("OUR_PASSWORD", SECRET)
    address = Address.of("http://me:${oc.env:OUR_PASSWORD}@host")
    assert address.revealed() == f"http://me:{SECRET}@host" and address == "http://me:***@host"
    assert address.expression == "http://me:${oc.env:OUR_PASSWORD}@host"
    with pytest.raises(ValueError, match="the environment has no NOT_THERE"):
        Address.of("${oc.env:NOT_THERE}")
