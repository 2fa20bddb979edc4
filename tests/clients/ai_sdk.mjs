// The AI SDK's quickstart, a stream, a tool loop and a second turn; prints what came of each as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

let sent; // the body of the last request
const openai = createOpenAI({
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  fetch: (address, options) => {
    sent = JSON.parse(options.body);
    return fetch(address, options);
  },
});
const model = openai("quick");
const hello = { role: "user", content: "hello there" };

const first = await generateText({ model, messages: [hello] });

const streamed = streamText({ model, prompt: "hello stream" });
const pieces = [];
for await (const piece of streamed.textStream) pieces.push(piece);

const weather = tool({
  description: "Get the weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `Sunny in ${city}`,
});
const looped = await generateText({
  model,
  prompt: "What is the weather in 'Bonn'?",
  tools: { weather },
  stopWhen: isStepCount(3),
});

// The messages of the first answer go back as references to stored items.
const second = await generateText({
  model,
  messages: [hello, ...first.response.messages, { role: "user", content: "and again" }],
});

console.log(
  JSON.stringify({
    first: first.text,
    pieces,
    calls: looped.steps.flatMap((step) => step.toolCalls.map((call) => [call.toolName, call.input])),
    looped: looped.text,
    second: second.text,
    second_input: sent.input,
    read: second.usage.inputTokens,
  }),
);
