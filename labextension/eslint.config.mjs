import js from "@eslint/js";
import ts from "typescript-eslint";

export default [
  js.configs.recommended,
  ...ts.configs.recommended,
  {
    rules: {
      "@typescript-eslint/no-explicit-any": "off",
      "no-control-regex": "off",
      "no-misleading-character-class": "off",
      eqeqeq: "error",
      "prefer-const": "error",
      // What comes from a bottle is text: no way from a string to HTML or code.
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-restricted-properties": [
        "error",
        { property: "innerHTML" },
        { property: "outerHTML" },
        { property: "insertAdjacentHTML" },
        { property: "write", object: "document" },
      ],
    },
  },
  { files: ["**/*.js"], rules: { "no-undef": "off", "no-unused-vars": "error" } },
];
