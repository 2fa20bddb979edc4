// openai-node: chat completions and responses.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.MODEL;
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

const said = [{ role: "user", content: "one two" }];
const first = await client.chat.completions.create({ model, messages: said });
assert.match(first.choices[0].message.content, /one two/);
said.push(first.choices[0].message, { role: "user", content: "three four" });
const second = await client.chat.completions.create({ model, messages: said });
assert.match(second.choices[0].message.content, /three four/);
assert.ok(second.usage.prompt_tokens > first.usage.prompt_tokens);

let text = "";
const stream = await client.chat.completions.create({ model, messages: [{ role: "user", content: "five six" }], stream: true });
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert.match(text, /five six/);

const runner = client.chat.completions.runTools({
  model,
  messages: [{ role: "user", content: "What is the weather in 'Paris'?" }],
  tools: [{ type: "function", function: { name: "get_weather", parameters, parse: JSON.parse, function: ({ city }) => `Sunny in ${city}` } }],
});
assert.match(await runner.finalContent(), /Sunny in Paris/);

let response = await client.responses.create({ model, input: "one two" });
assert.match(response.output_text, /one two/);
response = await client.responses.create({ model, input: "three four", previous_response_id: response.id });
assert.match(response.output_text, /three four/);
text = "";
for await (const event of client.responses.stream({ model, input: "five six" }))
  if (event.type === "response.output_text.delta") text += event.delta;
assert.match(text, /five six/);
const tools = [{ type: "function", name: "get_weather", parameters, strict: true }];
response = await client.responses.create({ model, input: "What is the weather in 'Paris'?", tools });
const call = response.output.find((item) => item.type === "function_call");
assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
const input = [{ type: "function_call_output", call_id: call.call_id, output: "Sunny in Paris" }];
response = await client.responses.create({ model, input, previous_response_id: response.id, tools });
assert.match(response.output_text, /Sunny in Paris/);
