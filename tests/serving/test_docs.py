"""The blocks of docs/use-in.md run as they stand, but for the address, the model and the length of a training run.

The word behind ```python says what a block needs: nothing, `trl`, `hub` (huggingface_hub), `clients` (openai or cohere)
or `swift` (ms-swift) from the environment of `make clients`, `ray`, or `gym` (NeMo-Gym) and `verifiers`,
which no environment of ours installs.
"""

import asyncio
import json
import os
import re
import subprocess
import sys

import httpx
import pytest
import tiny_models

from rewardsmith.serving.limits import ServerSettings

BLOCK = re.compile(r"```python(?: (\w+))?\n(.*?)```", re.S)
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "use-in.md").read_text()


@pytest.fixture(scope="module")
def served(reward_model, start_server):
    with start_server(reward_model, ServerSettings(served_names=("my-reward-model",))) as address:
        yield address


@pytest.fixture
def blocks(page, served, reward_model):
    """Return the blocks of one kind, with the address and the model put in."""

    def of(kind):
        found = [code for needs, code in BLOCK.findall(page) if needs == kind]
        local = f"RewardModel.from_pretrained({reward_model.name!r})"
        return [
            code.replace(ADDRESS, served).replace('RewardModel.from_pretrained("my-reward-model")', local)
            for code in found
        ]

    return of


def run_block(code):
    exec(compile(code, "use-in.md", "exec"), {"__name__": "block"})


def test_every_python_block_is_python_and_says_what_it_needs(page):
    blocks = BLOCK.findall(page)
    assert len(blocks) == page.count("```python") >= 10
    for needs, code in blocks:
        assert needs in ("", "trl", "hub", "clients", "swift", "ray", "gym", "verifiers")
        compile(code, "use-in.md", "exec")


def test_the_blocks_that_need_no_other_package_run(blocks):
    runnable = blocks("")
    assert len(runnable) >= 5
    for code in runnable:
        run_block(code)


def test_the_block_of_huggingface_hub_runs(blocks, monkeypatch, capsys):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    (code,) = blocks("hub")
    run_block(code)
    float(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_block_of_trl_trains(blocks, tmp_path, capsys):
    pytest.importorskip("trl")
    policy, tokenizer = tiny_models.qwen2_causal()
    policy.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    (code,) = blocks("trl")
    short = (
        f"output_dir={str(tmp_path)!r}, max_steps=1, use_cpu=True, bf16=False, report_to='none', save_strategy='no', "
    )
    code = code.replace('output_dir="policy", ', short).replace("128", "8")
    code = code.replace('"Qwen/Qwen2.5-0.5B-Instruct"', repr(str(tmp_path / "tiny")))
    assert code.count(str(tmp_path)) == 2
    run_block(code)
    assert "rewards/helpfulness/mean" in capsys.readouterr().out


@pytest.mark.slow
def test_the_blocks_of_openai_and_cohere_run(blocks, clients_python):
    codes = blocks("clients")
    assert len(codes) == 2
    for code in codes:
        result = subprocess.run([clients_python, "-c", code], capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr[-3000:]


def test_the_bodies_of_the_curl_blocks_are_answered(page, served):
    calls = re.findall(rf"curl -s {ADDRESS}(\S+) .*-d '(.*)'", page.replace("\\\n ", ""))
    assert len(calls) == 4
    for path, body in calls:
        assert httpx.post(served + path, json=json.loads(body)).status_code == 200, path


def printed_json(python, code, environment=None):
    """Run code in a process of its own and read the JSON on its last line."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(environment or {})}
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


STUBS = """
import json, os, sys, types
def without_init(root, *names):  # their __init__ files import what needs a GPU; the request code does not
    for name in names:
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(root, *name.split("."))]
        sys.modules[name] = package
"""
OPENRLHF = """
import asyncio, importlib.metadata
without_init(str(importlib.metadata.distribution("openrlhf").locate_file("")), "openrlhf", "openrlhf.utils")
from openrlhf.utils.agent import SingleTurnAgentExecutor
executor = SingleTurnAgentExecutor({given!r}.split(","))
fetch = executor._fetch_rewards_via_func if executor.reward_func else executor._fetch_rewards_via_http
async def rollouts():
    return await asyncio.gather(*(fetch([text], ["p"], [None]) for text in {texts!r}))
print(json.dumps([answers[0]["rewards"] for answers in asyncio.run(rollouts())]))
"""
LLAMAFACTORY = """
sys.path.append({root!r})
without_init({root!r}, "llamafactory", "llamafactory.train", "llamafactory.train.ppo", "llamafactory.extras")
from llamafactory.train.ppo.ppo_utils import get_rewards_from_server
print(json.dumps(get_rewards_from_server({url!r}, {texts!r}).tolist()))
"""
SWIFT = """
import importlib.metadata
root = str(importlib.metadata.distribution("ms-swift").locate_file(""))
without_init(root, "swift", "swift.utils")
sys.modules["swift.infer_engine"] = types.SimpleNamespace(InferRequest=object)
from swift.rewards import orms
exec({block!r})
reward = orms["rewardsmith"](args=None)
conversation = [{{"role": "user", "content": "is maybe"}}, {{"role": "assistant", "content": "fine"}}]
print(json.dumps(reward(["fine"], messages=[conversation], trainer_state=None, solution=["x"])))
"""
NEMO = """
import json, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
exec({block!r})
log = [{{"role": "user", "content": "is maybe"}}, {{"role": "assistant", "content": "fine"}}]
result = ray.get(environment.step.remote([log], [{{}}]))
ray.shutdown()
print(json.dumps(result.rewards.tolist()))
"""
TEXTS = ["What is 2 + 2?4", "good answer<|im_end|>"]


def flat(values):
    return [value[0] if isinstance(value, list) else value for value in values]


@pytest.mark.slow
def test_openrlhfs_own_code_asks_the_address_of_its_block(page, served, clients_python, reward_model):
    addresses = re.findall(r"--reward\.remote_url (http\S+)", page)
    assert len(addresses) == 2
    for address in addresses:
        given = re.sub(r"http://(any:KEY@)?127\.0\.0\.1:8000", served, address)
        rewards = printed_json(clients_python, STUBS + OPENRLHF.format(given=given, texts=TEXTS))
        assert flat(rewards) == pytest.approx(reward_model.score_texts(TEXTS), abs=1e-5)


@pytest.mark.slow
def test_openrlhfs_own_code_runs_the_file_of_its_block(blocks, clients_python, reward_model, tmp_path, repository):
    (code,) = (code for code in blocks("") if "openrlhf_reward_function" in code)
    (tmp_path / "reward.py").write_text(code)
    script = STUBS + OPENRLHF.format(given=str(tmp_path / "reward.py"), texts=TEXTS)
    rewards = printed_json(clients_python, script, {"PYTHONPATH": str(repository / "src")})
    assert flat(rewards) == pytest.approx(reward_model.score_texts(TEXTS), abs=1e-5)


@pytest.mark.slow
def test_llamafactorys_own_code_asks_the_address_of_its_block(page, served, clients_python, reward_model):
    (address,) = re.findall(r"reward_model: (http\S+)\nreward_model_type: api", page)
    find = (
        "import importlib.metadata as m, json; print(json.dumps(str(m.distribution('llamafactory').locate_file(''))))"
    )
    root = printed_json(clients_python, find)
    call = LLAMAFACTORY.format(root=root, url=address.replace(ADDRESS, served), texts=TEXTS)
    # Its module needs torch and transformers, which the environment of the clients lacks and this one has.
    rewards = printed_json(sys.executable, STUBS + call, {"OMP_NUM_THREADS": "1"})
    assert rewards == pytest.approx(reward_model.score_texts(TEXTS), abs=1e-5)


@pytest.mark.slow
def test_the_plugin_of_ms_swifts_block_stands_in_its_table_of_rewards(
    blocks, served, clients_python, reward_model, repository
):
    (block,) = blocks("swift")
    environment = {"PYTHONPATH": str(repository / "src"), "REWARDSMITH_URL": served}
    rewards = printed_json(clients_python, STUBS + SWIFT.format(block=block), environment)
    messages = [{"role": "user", "content": "is maybe"}], [[{"role": "assistant", "content": "fine"}]]
    assert rewards == pytest.approx(reward_model.score(*messages), abs=1e-5)


@pytest.mark.slow
def test_the_actor_of_nemo_rls_block_gives_rewards(blocks, reward_model):
    pytest.importorskip("ray", reason="needs rewardsmith[ray]")
    (block,) = blocks("ray")
    environment = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    rewards = printed_json(sys.executable, NEMO.format(block=block), environment)
    messages = [{"role": "user", "content": "is maybe"}], [[{"role": "assistant", "content": "fine"}]]
    assert rewards == pytest.approx(reward_model.score(*messages), abs=1e-5)


def test_the_file_of_openrlhfs_block_gives_rewards(blocks, reward_model):
    (code,) = (code for code in blocks("") if "openrlhf_reward_function" in code)
    names = {"__name__": "block"}
    exec(compile(code, "use-in.md", "exec"), names)
    answer = names["reward_func"](TEXTS, ["p", "p"], [None, None])
    assert flat(answer["rewards"]) == pytest.approx(reward_model.score_texts(TEXTS), abs=1e-5)


def test_the_file_of_verls_block_gives_rewards(blocks, reward_model):
    (code,) = (code for code in blocks("") if "verl_compute_score" in code)
    names = {"__name__": "block"}
    exec(compile(code, "use-in.md", "exec"), names)
    reward = asyncio.run(names["compute_score"]("set", "4", None, {"prompt": "What is 2 + 2?"}))
    assert reward == pytest.approx(reward_model.score("What is 2 + 2?", "4"), abs=1e-5)
