"""`python -m services.memory`: runs the memory service."""

from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.rpc.server import run

if __name__ == "__main__":
    run("memory", MemorySettings, MemoryService)
