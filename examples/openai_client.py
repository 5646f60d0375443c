"""OpenAI's official client against Headrace: `python examples/openai_client.py [MODEL]`, with a server running.

Needs `pip install openai`. Whatever provider the model has, the client sees OpenAI's format.
"""

import os
import sys

import openai

url = os.environ.get("HEADRACE_URL", "http://127.0.0.1:8642")
model = sys.argv[1] if len(sys.argv) > 1 else "demo"
client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("HEADRACE_API_KEY", "none"))

stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Hello"}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
    if chunk.usage:
        print(f"\n-- {chunk.usage.completion_tokens} tokens")
