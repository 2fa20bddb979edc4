"""The chat page: one NiceGUI process that knows the service only through its public HTTP API.

    __main__    the process          settings    what it reads from its environment
    app         routes, shared state page        one open browser page, put together
    chat        the open conversation as it is read and asked
    account     all that acts with one key: nothing of it is shared with another's
    gate        which requests and sockets are whose
    sessions    who has signed in    sign_in     the form     attempts    how often an address may try
    links       one-time links, and the browsers that followed one    link_entry  the way in by them
    sharing     a conversation's links     shared      what a link shows
    client      the HTTP API         shapes      what it answers with
    completion  a streamed answer, through the openai SDK     stream      what it is made of
    asking      from a text to a running answer
    tree        branches             thread      one path through them, and a running answer
    conversation  what is open       parameters  how it is answered, kept in its metadata
    listing     the list's order     deletions   what can be undone for some seconds
    transfer    export and import    message     words, and the files and images that come along
    files       text files in it     images      images in it
    pdf         a PDF file's text    pdf_process a process of its own that reads it
    trouble     errors, in words     readiness   is the service up, is the model loaded
    titles      a conversation's title, by the model         question_title  from its question
    generation  answers being written: they belong to a conversation, not to a browser
    markdown, math  untrusted text to inert HTML     blocks  the same for a text that still grows
    rendering   both within bounded time, in processes of their own (render_process)
    texts       the reader's language, from catalogues/
    compare     two answers to one prompt, its columns (column) and what is kept of them (comparing)
    sidebar, menu, account_menu, search, topbar, picker, transcript, question, answer, growing,
    pager, prose, figures, notice, composer, attachments, tuning, dialogs, shortcuts, toast,
    status, parts, welcome, theme, plain: what is seen; keeping, actions: what can be done with it
    ops/        the page for whoever runs the service

The service writes an answer whoever follows it. A reload or a second tab finds it in
`generation`, a new process asks the service what is being written in a conversation
(`asking.take_up`); a page only watches. Everything that a page registers elsewhere ends
with its client.
"""
