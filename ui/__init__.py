"""The chat page: one NiceGUI process that knows the service only through its public HTTP API.

    __main__    the process          settings    what it reads from its environment
    app         routes, shared state page        one open browser page, put together
    client      the HTTP API         completion  a streamed answer, through the openai SDK
    stream      what it is made of   thread      stored messages and a running answer, as one
    listing     the list's order
    trouble     errors, in words     readiness   is the service up, is the model loaded
    generation  answers being written: they belong to a conversation, not to a browser
    markdown    untrusted text to inert HTML     blocks  the same for a text that still grows
    sidebar, topbar, transcript, message, composer, status, parts, theme: what is seen

A reload or a second tab re-attaches to an answer because `generation` owns it; a page
only watches. Everything that a page registers elsewhere ends with its client.
"""
