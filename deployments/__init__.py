"""ChatLLM's deployments on Ray Serve, and the launcher for one machine.

    app.py       build_app(settings) -> Application: the only place that binds
    config/      typed settings, the only reader of the environment
    errors.py    the tree of errors, each with its HTTP status and code
    chat/        the story of a request (service.py), and an answer while it is generated (generation.py)
    api/         HTTP: server.py, and in routes/ one module per resource
    cache/       key, entry, store, the look-up deployment, and its client
    models/      what a replica must answer (protocol.py), vllm/, provider/, scripted/, and their client
    hub/         downloads from a Hugging Face hub
    lora/        adapters that are loaded while the service runs: files, store, registry
    history/     conversations: store, SQL, the writer behind the answer
    streams/     streams that a client comes back to: numbered events, kept in a log in Redis for a while
    responses/   OpenAI's Responses upon conversations: request, events, store, background
    messages/    Anthropic's Messages as chat completions, and back
    keys/        API keys and whom they authenticate
    users/       people who sign in with a password, and the sessions of their browsers
    limits/      what a key may use: one script in Redis, or this replica's memory
    usage/       what each key used, by day and model
    metrics/     telemetry for Prometheus, and the service's own figures of the last hour
    weights/     weights that come as packages or GGUF files, in the form that vLLM serves
    infra/       what the domains stand on: Postgres, Redis, transport, liveness, Ray, HAProxy, logging, threads
    local/       the launcher: embedded Postgres and Valkey, Ray, the page, the command line

Imports point one way: config, errors, infra → models/protocol, cache/key and entry → chat → adapters (cache,
models, history, keys, limits, usage, metrics) → api → app. `chat/ports.py` declares the interfaces that the
chat service needs; a Serve handle never leaves the client module of its deployment (models/client.py,
cache/remote.py).

The way of a request:

    HAProxy → Ingress ─┬─ keys.Authenticator       who sends it       (memory, Postgres)
                       ├─ api.http.requests        is it well formed
                       ├─ limits.Limiter           may it now         (one script in Redis, 50 ms at most)
                       ├─ chat.ChatService ─┬─ history.turns    what was said before  (one query)
                       │                    ├─ cache.client     has it been answered  (50 ms at most)
                       │                    ├─ chat.coalescing  is it being answered  (the same call)
                       │                    ├─ models.client    generate → frames, put into a chat.generation
                       │                    └─ history.writer   remember              (behind the answer)
                       └─ api.http.replies         stream, or one JSON body
"""
