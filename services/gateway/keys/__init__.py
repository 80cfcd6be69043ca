"""What whoever runs the gateway does with API keys: `python run.py keys add | list | revoke`.

Works on the file of keys itself, under the gateway's settings; gateways that run see the change at their next call.
"""
