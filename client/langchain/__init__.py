"""LangChain over the chat backend: its memory as a chat message history and as a retriever.

    with ChatbotConnection("127.0.0.1:50051") as connection:
        history = ChatbotMessageHistory(connection, "holiday", user="anna")
        history.add_user_message("We leave for Lisbon on Friday.")
        documents = ChatbotRetriever(connection=connection, user="anna").invoke("When do we leave?")

The only part of the client that needs `langchain-core`; nothing else of the client imports it. Everything works
alike from threads and from coroutines, also synchronously while an event loop runs. `docs/clients/langchain.md`
has a whole program, and what of a message cannot be kept.
"""

from __future__ import annotations

try:
    from client.langchain.connection import ChatbotConnection
    from client.langchain.message_history import ChatbotMessageHistory
    from client.langchain.retriever import ChatbotRetriever
except ModuleNotFoundError as missing:
    if missing.name != "langchain_core":
        raise
    raise ModuleNotFoundError(
        "client.langchain needs the package langchain-core: `pip install langchain-core`.", name=missing.name
    ) from None

__all__ = ["ChatbotConnection", "ChatbotMessageHistory", "ChatbotRetriever"]
