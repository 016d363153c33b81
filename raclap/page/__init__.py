"""The page in the browser: judge a clip, find a voice, compare two models. `app.py` starts it."""
