"""ChatLLM's deployments on Ray Serve, and the launcher for one machine.

    app.py            build_app(settings) -> Application: the only place that binds
    config/           typed settings, the only reader of the environment
    errors.py         the tree of errors, each with its HTTP status and code
    service.py        the story of a request, with no framework in it
    call.py           what is asked of it, and its answer
    ports.py          what it needs of the stores and machines behind it
    summary.py        what a request was: for metrics, the log line and the headers
    detached.py       work that no request owns, though one started it
    handles.py        calls through Serve's handles: messages of any size, and how they fail
    logs.py           the service's log in the replica's file: warnings at once, the rest within a second
    traces.py         where an unexpected error came from, without what it says
    timing.py         where a request's time goes, hop by hop
    telemetry.py      metrics, and the one line per request
    metrics/          the service's own figures of the last hour, over all ingress replicas
    haproxy/          what Ray Serve starts in place of HAProxy, and how it mends Ray's configuration
    ingress/          HTTP: server.py, and a file per resource of the API
    cache/            key, entry, store, the look-up deployment, and its client
    chat/             an answer while it is generated: its one owner, who shares it, where it comes from
    transport/        connections between replicas beside Serve's handles: framing, handshake, encryption
    models/           what crosses the border (protocol.py), vLLM, scripted, provider/, and their client
    lora/             adapters that are loaded while the service runs: files, store, registry
    history/          conversations: store, SQL, migrations, the writer behind the answer
    responses/        OpenAI's Responses upon conversations: request, events, store, background
    messages/         Anthropic's Messages as chat completions, and back
    keys/             API keys and who they let in
    limits/           what a key may use: one script in Redis, or this replica's memory
    usage/            what each key used, by day and model
    weights/          weights that come as packages or GGUF files, in the form that vLLM serves
    local/            the launcher: embedded Postgres and Valkey, Ray, the page, the command line

Imports point one way: config, errors → models/protocol, cache/key and entry → call, summary, ports →
service → adapters (cache, models, history, keys, limits, usage, metrics) → ingress → app. `ports.py`
declares the interfaces that the service needs; a Serve handle never leaves the client
module of its deployment (models/client.py, cache/remote.py).

The way of a request:

    HAProxy → Ingress ─┬─ keys.Authenticator          who asks          (memory, Postgres)
                       ├─ ingress.requests             is it well formed
                       ├─ limits.Limiter               may it now         (one script in Redis, 50 ms at most)
                       ├─ service.ChatService ─┬─ history.turns    what was said before  (one query)
                       │                       ├─ cache.client     has it been answered  (50 ms at most)
                       │                       ├─ chat.coalescing  is it being answered  (the same call)
                       │                       ├─ models.client    generate → frames, put into a chat.generation
                       │                       └─ history.writer   remember              (behind the answer)
                       └─ ingress.answers              stream, or one JSON body
"""
