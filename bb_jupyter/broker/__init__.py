"""The broker: the process between a bottle and its human, on this host whatever the backend.

* In the process: `broker_process` starts the services `git_gate` and `supervise`, each behind an `asgi_service`;
  `proposals` brings about what the human approves, by means of `effect_context`; `mux_listener` carries connections
  where no socket can be passed.
* In the process that owns the bottle: `broker_plan` (what the preflight shows), `broker_config` (the same with
  secrets), `broker_client` (starts and steers the broker).
* In any process of the user: `effects` (approve or deny).
"""
