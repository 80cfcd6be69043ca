"""LangChain's and LangGraph's own programs over the real services."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from client import ChatbotError, ChatClient, ConversationBusy, InvalidArgument, Message, NotConnected, Role
from client.langchain import ChatbotConnection, ChatbotMessageHistory, ChatbotRetriever
from services.inference.engine.fake import FakeEngine
from tests.contract.client.house_in_thread import running_house

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def address(tmp_path: Path, engine: FakeEngine) -> Iterator[str]:
    with running_house(tmp_path, engine) as where:
        yield where


@pytest.fixture
def connection(address: str) -> Iterator[ChatbotConnection]:
    with ChatbotConnection(address) as opened:
        yield opened


def texts(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


TALK = [SystemMessage("Be brief."), HumanMessage("Привет 🍅", name="Анна"), AIMessage("Hello")]
CALL = AIMessage("Let me look.", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
BARE_CALL = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "2"}])
RESULT = ToolMessage("42", tool_call_id="1")


def test_messages_come_back_in_order_with_roles_and_names(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    assert history.messages == []
    history.add_messages(TALK)
    read = history.messages
    assert [(type(m), m.content, m.name) for m in read] == [
        (SystemMessage, "Be brief.", None),
        (HumanMessage, "Привет 🍅", "Анна"),
        (AIMessage, "Hello", None),
    ]
    assert [m.id for m in read] == [f"{history.conversation}/messages/{n}" for n in (1, 2, 3)]
    assert str(history) == "System: Be brief.\nHuman: Привет 🍅\nAI: Hello"


async def test_everything_works_from_coroutines_too(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    await history.aadd_messages(TALK)
    assert texts(await history.aget_messages()) == ["Be brief.", "Привет 🍅", "Hello"]
    assert (await history.aget_conversation()).startswith("conversations/")
    await history.aclear()
    assert await history.aget_messages() == []


async def test_the_synchronous_methods_work_while_an_event_loop_runs(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    history.add_user_message("I grow tomatoes.")
    history.add_ai_message("Good.")
    assert texts(history.messages) == ["I grow tomatoes.", "Good."]
    found = ChatbotRetriever(connection=connection).invoke("tomatoes")
    assert found[0].page_content == "I grow tomatoes."


def test_token_counts_and_finish_reasons_of_a_model_are_kept(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    usage = {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "input_token_details": {"cache_read": 2},
    }
    history.add_messages(
        [
            AIMessage("Cut", usage_metadata=usage, response_metadata={"finish_reason": "length", "model": "x"}),
            AIMessage("Whole", response_metadata={"finish_reason": "stop"}),
            AIMessage("Plain"),
            AIMessage(""),
            AIMessageChunk("A chunk"),
        ]
    )
    cut, whole, plain, empty, chunk = history.messages
    assert cut.usage_metadata == usage
    assert cut.response_metadata == {"finish_reason": "length"}
    assert whole.response_metadata == {"finish_reason": "stop"}
    assert (plain.usage_metadata, plain.response_metadata) == (None, {})
    assert empty.content == ""
    assert type(chunk) is AIMessage
    assert chunk.content == "A chunk"


def test_text_blocks_are_joined_reasoning_is_left_out_and_generic_roles_are_known(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    blocks: list[Any] = [{"type": "reasoning", "reasoning": "hm"}, "One, ", {"type": "text", "text": "two."}]
    history.add_messages([AIMessage(blocks), ChatMessage("Three.", role="user"), ChatMessage("Four.", role="system")])
    assert [(m.type, m.content) for m in history.messages] == [
        ("ai", "One, two."),
        ("human", "Three."),
        ("system", "Four."),
    ]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (RESULT, "calls a tool"),
        (FunctionMessage("42", name="look"), "calls a tool"),
        (CALL, "calls a tool"),
        (HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}]), "not text"),
        (ChatMessage("Hi", role="critic"), "ChatMessage"),
        (RemoveMessage(id="1"), "RemoveMessage"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_place_and_nothing_is_stored(
    connection: ChatbotConnection, message: BaseMessage, why: str
):
    history = ChatbotMessageHistory(connection, "holiday")
    with pytest.raises(InvalidArgument, match=rf"messages\[1\] .*{why}"):
        history.add_messages([HumanMessage("Hi"), message])
    assert history.messages == []


def test_tool_calls_and_results_are_left_out_where_that_is_asked_for(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday", tools="leave_out")
    history.add_messages([HumanMessage("What is it?"), CALL, RESULT, BARE_CALL, RESULT, AIMessage("42.")])
    history.add_messages([BARE_CALL, RESULT])
    history.add_messages([])
    read = history.messages
    assert texts(read) == ["What is it?", "Let me look.", "42."]
    assert not any(m.tool_calls for m in read if isinstance(m, AIMessage))


def test_an_append_with_the_same_request_id_is_carried_out_once(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    request_id = str(uuid.uuid4())
    history.add_messages(TALK, request_id=request_id)
    history.add_messages(TALK, request_id=request_id)
    assert len(history.messages) == 3
    history.add_messages(TALK)
    assert len(history.messages) == 6
    with pytest.raises(InvalidArgument, match="UUID"):
        history.add_messages(TALK, request_id="again")


def test_only_the_newest_are_read_where_that_is_asked_for(connection: ChatbotConnection):
    ChatbotMessageHistory(connection, "holiday").add_messages([HumanMessage(str(n)) for n in range(1, 6)])
    assert texts(ChatbotMessageHistory(connection, "holiday", newest=2).messages) == ["4", "5"]
    assert ChatbotMessageHistory(connection, "holiday", newest=0).messages == []
    assert len(ChatbotMessageHistory(connection, "holiday", newest=9).messages) == 5


def test_more_messages_than_a_page_are_all_read(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    history.add_messages([HumanMessage(str(n)) for n in range(1000)])
    history.add_messages([HumanMessage("1000")])
    assert texts(history.messages) == [str(n) for n in range(1001)]


def test_sessions_and_users_see_nothing_of_each_other(connection: ChatbotConnection):
    for user in ("anna", "boris"):
        for session in ("one", "two"):
            ChatbotMessageHistory(connection, session, user=user).add_user_message(f"{user} in {session}")
    for user in ("anna", "boris"):
        for session in ("one", "two"):
            assert texts(ChatbotMessageHistory(connection, session, user=user).messages) == [f"{user} in {session}"]
    assert ChatbotMessageHistory(connection, "one").messages == []
    found = ChatbotRetriever(connection=connection, user="anna", k=10).invoke("in")
    assert {document.page_content for document in found} == {"anna in one", "anna in two"}


def test_a_session_is_the_same_conversation_over_every_connection(address: str, connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday")
    history.add_messages(TALK)
    with ChatbotConnection(address) as other:
        again = ChatbotMessageHistory(other, "holiday")
        assert again.conversation == history.conversation
        assert len(again.messages) == 3


async def test_a_session_is_listed_under_its_id(address: str, connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "holiday", user="anna")
    await history.aadd_messages(TALK)
    async with ChatClient(address, "anna") as client:
        assert [(c.title, c.name) async for c in client.list_conversations()] == [("holiday", history.conversation)]


def test_a_cleared_session_begins_anew_wherever_it_was_open(address: str, connection: ChatbotConnection):
    with ChatbotConnection(address) as other:
        here, there = ChatbotMessageHistory(connection, "holiday"), ChatbotMessageHistory(other, "holiday")
        here.add_user_message("First")
        assert texts(there.messages) == ["First"]
        here.clear()
        there.add_user_message("Second")
        assert texts(here.messages) == ["Second"]
        there.clear()
        there.clear()
        assert here.messages == []
    with ChatbotConnection(address) as later:
        history = ChatbotMessageHistory(later, "holiday")
        assert history.messages == []
        assert ChatbotRetriever(connection=later).invoke("First Second") == []


def test_appends_at_once_are_all_kept(connection: ChatbotConnection):
    def append(number: int) -> None:
        ChatbotMessageHistory(connection, "holiday").add_messages([HumanMessage(f"Q{number}"), AIMessage(f"A{number}")])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(append, range(6)))
    read = texts(ChatbotMessageHistory(connection, "holiday").messages)
    assert sorted(read[::2]) == [f"Q{n}" for n in range(6)]
    assert [q.replace("Q", "A") for q in read[::2]] == read[1::2]


@pytest.mark.parametrize("engine", [FakeEngine(pause_after=1)])
async def test_an_append_waits_for_the_end_of_a_reply(
    address: str, engine: FakeEngine, connection: ChatbotConnection, monkeypatch: pytest.MonkeyPatch
):
    refused = threading.Event()
    append_messages = ChatClient.append_messages

    async def watched(*arguments: Any, **options: Any) -> list[Message]:
        try:
            return await append_messages(*arguments, **options)
        except ConversationBusy:
            refused.set()
            raise

    monkeypatch.setattr(ChatClient, "append_messages", watched)
    history = ChatbotMessageHistory(connection, "holiday")
    async with ChatClient(address) as client:
        reply = client.chat("Hi", conversation=await history.aget_conversation())
        words = aiter(reply)
        await anext(words)
        append = asyncio.create_task(history.aadd_messages([HumanMessage("Afterwards")]))
        assert await asyncio.to_thread(refused.wait, 30)
        assert not append.done()
        engine.resume.set()
        async for _ in words:
            pass
    await append
    assert texts(await history.aget_messages()) == ["Hi", "Hello there.", "Afterwards"]


def test_documents_say_where_they_are_from_and_why_they_were_found(connection: ChatbotConnection):
    history = ChatbotMessageHistory(connection, "garden", user="anna")
    history.add_messages(
        [
            HumanMessage("Good morning."),
            HumanMessage("I grow tomatoes on my balcony.", name="Anna"),
            AIMessage("They need sun."),
        ]
    )
    found = ChatbotRetriever(connection=connection, user="anna", k=1, neighbours=1).invoke("tomatoes on a balcony")
    assert [document.page_content for document in found] == ["I grow tomatoes on my balcony."]
    metadata = found[0].metadata
    assert found[0].id == metadata["message"] == f"{history.conversation}/messages/2"
    assert metadata["conversation"] == history.conversation
    assert (metadata["sequence"], metadata["role"], metadata["author"]) == (2, "user", "Anna")
    assert datetime.fromisoformat(metadata["create_time"]).utcoffset() == timedelta(0)
    assert metadata["score"] == pytest.approx(metadata["dense"] + metadata["lexical"] + metadata["prior"])
    assert metadata["word_share"] > 0.5
    assert -1 <= metadata["similarity"] <= 1
    assert [one["content"] for one in metadata["before"]] == ["Good morning."]
    assert [(one["content"], one["role"]) for one in metadata["after"]] == [("They need sun.", "assistant")]
    assert json.loads(json.dumps(metadata)) == metadata


async def test_the_retriever_narrows_by_conversation_role_author_and_time(connection: ChatbotConnection):
    balcony = ChatbotMessageHistory(connection, "balcony")
    kitchen = ChatbotMessageHistory(connection, "kitchen")
    balcony.add_messages([HumanMessage("Tomatoes grow.", name="Anna"), AIMessage("Tomatoes need sun.")])
    kitchen.add_messages([HumanMessage("Tomatoes for soup.", name="Boris")])
    now = datetime.now(UTC)

    async def found(**fields: Any) -> set[str]:
        documents = await ChatbotRetriever(connection=connection, k=10, **fields).ainvoke("tomatoes")
        return {document.page_content for document in documents}

    assert await found() == {"Tomatoes grow.", "Tomatoes need sun.", "Tomatoes for soup."}
    assert await found(conversation=kitchen.conversation) == {"Tomatoes for soup."}
    assert await found(roles=(Role.ASSISTANT,)) == {"Tomatoes need sun."}
    assert await found(authors=("Anna", "Boris")) == {"Tomatoes grow.", "Tomatoes for soup."}
    assert await found(start_time=now + timedelta(hours=1)) == set()
    assert len(await found(end_time=now + timedelta(hours=1), recency_half_life=timedelta(days=1))) == 3
    with pytest.raises(ValueError, match="less than or equal to 1000"):
        ChatbotRetriever(connection=connection, k=1001)


def the_model() -> FakeListChatModel:
    return FakeListChatModel(responses=["Noted.", "You said so.", "Indeed."])


# LangChain recommends LangGraph's persistence instead; the histories of the applications there are run on this.
@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")
@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_chain_with_message_history_keeps_two_sessions_of_two_users_apart(
    connection: ChatbotConnection, how: str
):
    shown: list[list[BaseMessage]] = []

    def look(prompt: Any) -> Any:
        shown.append(prompt.to_messages())
        return prompt

    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{question}")]
    )
    chain = RunnableWithMessageHistory(
        prompt | RunnableLambda(look) | the_model(),
        lambda user_id, session_id: ChatbotMessageHistory(connection, session_id, user=user_id),
        input_messages_key="question",
        history_messages_key="history",
        history_factory_config=[
            ConfigurableFieldSpec(id="user_id", annotation=str),
            ConfigurableFieldSpec(id="session_id", annotation=str),
        ],
    )

    async def ask(user: str, session: str, question: str) -> str:
        config: RunnableConfig = {"configurable": {"user_id": user, "session_id": session}}
        asked = {"question": question}
        answer = chain.invoke(asked, config) if how == "sync" else await chain.ainvoke(asked, config)
        return str(answer.content)

    assert await ask("anna", "one", "I am Anna.") == "Noted."
    assert await ask("boris", "one", "I am Boris.") == "You said so."
    assert await ask("anna", "two", "Who am I?") == "Indeed."
    assert await ask("anna", "one", "Who am I?") == "Noted."
    assert [texts(messages) for messages in shown] == [
        ["Be brief.", "I am Anna."],
        ["Be brief.", "I am Boris."],
        ["Be brief.", "Who am I?"],
        ["Be brief.", "I am Anna.", "Noted.", "Who am I?"],
    ]
    assert texts(ChatbotMessageHistory(connection, "one", user="boris").messages) == ["I am Boris.", "You said so."]


class State(TypedDict):
    messages: Annotated[list[BaseMessage], add_messages]
    recalled: list[str]


async def test_a_graph_recalls_answers_and_remembers_for_two_sessions_of_two_users(connection: ChatbotConnection):
    def place(config: RunnableConfig) -> tuple[str, str]:
        return config["configurable"]["user_id"], config["configurable"]["session_id"]

    async def recall(state: State, config: RunnableConfig) -> dict[str, Any]:
        user, _ = place(config)
        retriever = ChatbotRetriever(connection=connection, user=user, roles=(Role.USER,))
        found = await retriever.ainvoke(str(state["messages"][-1].content), config)
        return {"recalled": [document.page_content for document in found]}

    async def answer(state: State, config: RunnableConfig) -> dict[str, Any]:
        user, session = place(config)
        earlier = await ChatbotMessageHistory(connection, session, user=user).aget_messages()
        return {"messages": [await the_model().ainvoke([*earlier, *state["messages"]], config)]}

    async def remember(state: State, config: RunnableConfig) -> dict[str, Any]:
        user, session = place(config)
        await ChatbotMessageHistory(connection, session, user=user).aadd_messages(state["messages"])
        return {}

    builder = StateGraph(State)
    builder.add_node("recall", recall)
    builder.add_node("answer", answer)
    builder.add_node("remember", remember)
    builder.add_edge(START, "recall")
    builder.add_edge("recall", "answer")
    builder.add_edge("answer", "remember")
    builder.add_edge("remember", END)
    graph = builder.compile()

    async def say(user: str, session: str, text: str) -> list[str]:
        config: RunnableConfig = {"configurable": {"user_id": user, "session_id": session}}
        return (await graph.ainvoke({"messages": [HumanMessage(text)], "recalled": []}, config))["recalled"]

    assert await say("anna", "one", "My balcony has tomatoes.") == []
    assert await say("boris", "one", "My balcony has roses.") == []
    assert await say("anna", "two", "What does my balcony have?") == ["My balcony has tomatoes."]
    assert await say("boris", "two", "What does my balcony have?") == ["My balcony has roses."]
    for user, plant in (("anna", "tomatoes"), ("boris", "roses")):
        for session, text in (("one", f"My balcony has {plant}."), ("two", "What does my balcony have?")):
            kept = await ChatbotMessageHistory(connection, session, user=user).aget_messages()
            assert texts(kept) == [text, "Noted."]


def test_the_backends_own_chat_answers_in_a_chain(address: str, engine: FakeEngine, connection: ChatbotConnection):
    async def ask(text: str) -> str:
        async with ChatClient(address, "anna") as client:
            return "".join([piece async for piece in client.chat(text)])

    ChatbotMessageHistory(connection, "notes", user="anna").add_user_message("The key is under the mat.")
    retriever = ChatbotRetriever(connection=connection, user="anna", k=1)
    prompt = ChatPromptTemplate.from_template("{notes}\n{question}")
    chain = (
        {
            "notes": retriever | (lambda documents: documents[0].page_content),
            "question": RunnablePassthrough(),
        }
        | prompt
        | RunnableLambda(lambda value: asyncio.run(ask(value.to_string())))
        | StrOutputParser()
    )
    assert chain.invoke("Where is the key?") == "Hello there."
    assert "The key is under the mat.\nWhere is the key?" in engine.text_of(engine.requests[-1].prompt)


def test_several_threads_and_event_loops_share_a_connection(connection: ChatbotConnection):
    def in_a_loop(number: int) -> list[str]:
        async def talk() -> list[str]:
            history = ChatbotMessageHistory(connection, f"session {number}")
            await history.aadd_messages([HumanMessage(f"Message {number}")])
            return texts(await history.aget_messages())

        return asyncio.run(talk())

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(in_a_loop, range(8))) == [[f"Message {n}"] for n in range(8)]


async def test_a_closed_connection_says_so_and_leaves_no_thread(address: str):
    async with ChatbotConnection(address) as connection:
        history = ChatbotMessageHistory(connection, "holiday")
        await history.aadd_messages(TALK)
        assert "chatbot-connection" in {thread.name for thread in threading.enumerate()}
    assert "chatbot-connection" not in {thread.name for thread in threading.enumerate()}
    connection.close()
    with pytest.raises(ChatbotError, match="closed"):
        history.add_messages(TALK)
    with pytest.raises(ChatbotError, match="closed"):
        await history.aget_messages()


async def test_closing_ends_calls_that_are_under_way(connection: ChatbotConnection):
    begun = threading.Semaphore(0)

    async def wait_for_ever(client: ChatClient) -> None:
        begun.release()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as thread:
        in_thread = thread.submit(connection.call, None, wait_for_ever)
        in_task = asyncio.create_task(connection.acall(None, wait_for_ever))
        cancelled = asyncio.create_task(connection.acall(None, wait_for_ever))
        for _ in range(3):
            assert await asyncio.to_thread(begun.acquire, timeout=30)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.to_thread(connection.close)
        with pytest.raises(ChatbotError, match="closed"):
            await in_task
        with pytest.raises(ChatbotError, match="closed"):
            in_thread.result()


def test_errors_are_the_clients_own():
    with ChatbotConnection("127.0.0.1:1", timeout=5) as connection, pytest.raises(NotConnected):
        ChatbotMessageHistory(connection, "holiday").add_user_message("Hi")


def test_an_open_connection_does_not_keep_a_program_from_ending(address: str):
    program = (
        "from client.langchain import ChatbotConnection, ChatbotMessageHistory\n"
        f"history = ChatbotMessageHistory(ChatbotConnection({address!r}), 'holiday')\n"
        "history.add_user_message('Hi')\n"
        "print(len(history.messages))\n"
    )
    done = run_python(program)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


def test_the_client_needs_no_langchain_and_its_part_for_langchain_says_so():
    program = """
import sys

class Hiding:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "langchain_core":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hiding())
import client
try:
    import client.langchain
except ModuleNotFoundError as error:
    print(error)
"""
    done = run_python(program)
    assert done.stdout == "client.langchain needs the package langchain-core: `pip install langchain-core`.\n"
    assert done.returncode == 0


def test_the_example_of_the_page_remembers_across_sessions(address: str):
    page = (ROOT / "docs" / "clients" / "langchain.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    output = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert output is not None
    done = run_python(example[1].replace("127.0.0.1:50051", address))
    assert done.stderr == ""
    assert done.stdout == output[1]


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": ".:gen", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
