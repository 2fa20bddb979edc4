"""Untrusted Markdown to inert HTML.

render        Markdown to HTML
incremental   the same for a text that is still being generated
pool          both in bounded time, in child processes (process)
plain_text    what is shown instead where rendering takes too long
bare_links, cjk_emphasis, direction, footnotes, math, task_list  extensions of markdown-it
"""
