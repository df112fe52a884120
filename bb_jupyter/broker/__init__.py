"""The broker: where a bottle meets its human, a process of this host whatever the backend.

* the process: ``__main__`` → `process` → `asgi` → the services `gateway.git` and `supervise` (whose `supervise_tools`
  ask through `asking`, in `words`); `relay` carries its connections where no socket can be passed;
* the host: `plan` (what a preflight shows → what the broker is told), `config`, `client` (starts and steers the
process);
* what outlives the process: `staging` (a file on its way out) and `deciding` (approve or deny, from anywhere).
"""
