import pytest

from rewardsmith.clients.chat import ChatModel, ChatOptions
from rewardsmith.errors import ConfigError, UnreachableError


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/chat/completions"])
def test_the_path_is_added_where_it_is_missing(url):
    assert ChatModel(url, "m").endpoint == "http://h:1/v1/chat/completions"


def test_no_question_needs_no_server_and_no_server_is_one_clear_line():
    chat = ChatModel("http://127.0.0.1:9", "m", options=ChatOptions(max_attempts=1))
    assert chat.ask_all([]) == []
    with pytest.raises(UnreachableError, match=r"127.0.0.1:9/v1/chat/completions cannot be reached"):
        chat.ask_all([[{"role": "user", "content": "?"}]])
    with pytest.raises(ConfigError, match="starts with http"):
        ChatModel("h:1", "m")
