"""Gateways to compare with; None where one is not installed. `make bench-setup` installs them."""

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway.processes import GATEWAY_CORE, Yard

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / ".cache" / "bench"
KEY = "sk-" + "bench"

NGINX = """worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_buffer_size 256k; client_max_body_size 32m;
  client_body_temp_path {folder}/nb; proxy_temp_path {folder}/np; fastcgi_temp_path {folder}/nf;
  uwsgi_temp_path {folder}/nu; scgi_temp_path {folder}/ns;
  map $http_authorization $ok {{ "Bearer {key}" 1; default 0; }}
  upstream up {{ server 127.0.0.1:{mock}; keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      if ($ok = 0) {{ return 401; }}
      proxy_pass http://up; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer up";
    }}
  }}
}}
"""
LITELLM_PATTERNS = (
    *("email", "credit_card", "iban", "us_ssn", "us_phone", "ipv4"),
    *("aws_access_key", "github_token", "slack_token", "generic_api_key"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat completions."""

    name: str
    port: int
    key: str
    pid: int | None = None
    headers: tuple[str, ...] = field(default=())

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"


def nginx(yard: Yard, port: int, mock: int) -> Target | None:
    """A reverse proxy that checks one key and looks at nothing."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
    if not program:
        return None
    config = yard.folder / "nginx.conf"
    config.write_text(NGINX.format(folder=yard.folder, key=KEY, mock=mock, port=port))
    pid = yard.start("nginx", [program, "-c", config, "-e", yard.folder / "nginx.err"], GATEWAY_CORE)
    return Target("nginx", port, KEY, pid)


def aiohttp(yard: Yard, port: int, mock: int) -> Target | None:
    """The framework alone."""
    command = [sys.executable, HERE / "aiohttp_proxy.py", str(port), f"http://127.0.0.1:{mock}", KEY]
    return Target("aiohttp", port, KEY, yard.start("aiohttp", command, GATEWAY_CORE))


def litellm_filter(yard: Yard, port: int, mock: int) -> Target | None:
    """LiteLLM with its own content filter on both sides."""
    program = PEERS / "litellm" / "bin" / "litellm"
    if not program.exists():
        return None
    patterns = [{"pattern_type": "prebuilt", "pattern_name": name, "action": "BLOCK"} for name in LITELLM_PATTERNS]
    upstream = {"model": "openai/gpt-4o-mini", "api_base": f"http://127.0.0.1:{mock}/v1", "api_key": "up"}
    guard = {"guardrail": "litellm_content_filter", "mode": ["pre_call", "post_call"], "default_on": True}
    document = {  # YAML reads JSON
        "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": upstream}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "request_timeout": 60},
        "guardrails": [{"guardrail_name": "filter", "litellm_params": {**guard, "patterns": patterns}}],
    }
    config = yard.folder / "litellm.yaml"
    config.write_text(json.dumps(document))
    command = [program, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Target("litellm_filter", port, KEY, yard.start("litellm", command, GATEWAY_CORE, env))


def portkey(yard: Yard, port: int, mock: int) -> Target | None:
    """Portkey's gateway, which routes and looks at nothing."""
    script = PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    node = shutil.which("node")
    if not script.exists() or not node:
        return None
    pid = yard.start(
        "portkey", [node, script, f"--port={port}", "--headless"], GATEWAY_CORE, {"NODE_ENV": "production"}
    )
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{mock}/v1")
    return Target("portkey", port, KEY, pid, headers)
