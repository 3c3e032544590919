"""The live page of one or more searches.

    serve    from a thread, at an address; who may listen where
    app      the routes: the page, its changes as server-sent events, figures, health
    access   who may read it: token, login, Host header; and the headers of every answer
    hub      what all who look share: it reads the source while somebody looks
    sources  where searches come from: the owner of a search, a directory; remote: a chief elsewhere
    plots    the figures, computed at most every few seconds
    feed     a record as the page wants it: a header and rows
    static/  the page itself: no build step, no address outside

Needs the extra `ui`; only `serve`, `app`, `access` and `hub` import what that brings, when they are.
"""
