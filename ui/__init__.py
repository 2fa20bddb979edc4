"""The chat page: one NiceGUI process that knows the service only through its public HTTP API.

    __main__     the process
    app          routes, and what all pages share
    settings     what the process reads from its environment
    i18n         the reader's language; catalogues/ has one file per language
    theme        style sheets, scripts (static/), and response headers
    static_page  pages that need no socket
    api/         the service's HTTP API
    auth/        who may open the page
    chat/        the chat page        sidebar/   the list of conversations
    compare/     two answers side by side
    sharing/     shared conversations
    ops/         the page for whoever runs the service
    widgets/     what all pages are made of
    state/       what the page knows and does, without a widget
    files/       files and images of a message
    markdown/    untrusted Markdown to inert HTML

`api`, `state`, `files`, and `markdown` import no widget; tests/unit/test_imports.py checks it.

The service generates an answer whether or not anyone follows it. After a reload or in a second
tab a page finds it in `state.generation`; a new process asks the service which answers are running
(`state.submission.take_up`). A page only watches, and whatever it registers elsewhere ends with
its client.
"""
