"""The generated code is what the protos give."""

from __future__ import annotations

import shutil

from deploy.protos import GENERATED, differences, drift


def test_the_generated_code_is_what_the_protos_give():
    assert drift() == []


def test_a_changed_a_missing_and_an_additional_file_are_differences(tmp_path):
    copy = shutil.copytree(GENERATED, tmp_path / "gen")
    (copy / "chatbot" / "v1" / "chat_message_pb2.py").write_text("changed")
    (copy / "chatbot" / "v1" / "chat_service_pb2.py").unlink()
    (copy / "extra.py").touch()
    assert differences(GENERATED, copy) == [
        "chatbot/v1/chat_message_pb2.py",
        "chatbot/v1/chat_service_pb2.py",
        "extra.py",
    ]
