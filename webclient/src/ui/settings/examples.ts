// Tools to begin with, for whoever wants to see a call without writing a schema first.

export const example_tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The present weather in a city",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
        required: ["city"],
      },
    },
  },
] as const;
