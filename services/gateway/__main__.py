"""`python -m services.gateway` runs the gateway."""

from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from services.rpc.server import run

if __name__ == "__main__":
    run("gateway", GatewaySettings, GatewayService)
