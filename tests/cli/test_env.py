"""`rewardsmith env`: what a bug report asks for."""


def test_the_environment_is_a_list_to_paste(command):
    code, out, _ = command("env")
    assert code == 0
    facts = dict(line.removeprefix("- ").split(": ", 1) for line in out.splitlines())
    assert facts["torch"]
    assert facts["GPUs"]
    assert set(facts["not installed"].split(", ")).isdisjoint(facts)
