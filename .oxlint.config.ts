import { defineConfig, type OxlintOverride } from "oxlint"
import { house, type Wing } from "./.house.ts"

/** What a module of a wing may import, seen from a folder so many levels below `src`. */
const importRule = (name: string, { holds, knows, packages = false }: Wing, depth: number): OxlintOverride => {
  const up = "../".repeat(depth)
  const faces = knows.flatMap((wing) =>
    (house[wing]?.faces ?? []).map((face) => `!${up}${wing}/${face === "*" ? "**" : `${face}.ts`}`)
  )
  const message = `${name} (${holds}) knows effect, module by module, itself, and by their faces: ${knows.join(", ") || "nobody"}. See .house.ts.`
  return {
    files: [`src/${name}/${"*/".repeat(depth - 1)}*.ts`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: packages
            ? [
                { group: ["effect", "!effect/**", "eventfold"], message },
                { group: [`${up}**`, ...faces, `${up}*/**/../**`], message }
              ]
            : [
                {
                  group: [
                    "**",
                    "!effect/**",
                    "!./**",
                    ...(depth > 1 ? ["!../**", `${up}**`] : []),
                    ...faces,
                    "./**/../**",
                    `${up}*/**/../**`
                  ],
                  message
                }
              ]
        }
      ]
    }
  }
}

export default defineConfig({
  options: {
    reportUnusedDisableDirectives: "error"
  },
  plugins: ["typescript", "unicorn", "oxc", "import", "vitest"],
  categories: {
    correctness: "error",
    suspicious: "error"
  },
  rules: {
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/consistent-type-imports": [
      "error",
      {
        fixStyle: "inline-type-imports"
      }
    ],
    "import/no-cycle": "error",
    eqeqeq: "error",
    "no-var": "error",
    "prefer-const": "error",
    "unicorn/prefer-node-protocol": "error",
    "oxc/no-accumulating-spread": "error",
    "no-shadow": "off",
    "no-unmodified-loop-condition": "off",
    "no-underscore-dangle": "off",
    "unicorn/consistent-function-scoping": "off",
    "unicorn/no-array-reverse": "off",
    "unicorn/no-array-sort": "off",
    "vitest/no-standalone-expect": "off",
    "vitest/require-to-throw-message": "off"
  },
  ignorePatterns: ["dist", "node_modules"],
  overrides: [
    ...Object.entries(house).flatMap(([name, wing]) => [1, 2, 3].map((depth) => importRule(name, wing, depth))),
    {
      // The page knows the contract alone, and what draws it; its build knows Node. See src/operate/inspector.
      files: ["src/operate/inspector/**/*.{ts,tsx}"],
      rules: {
        "no-restricted-imports": [
          "error",
          {
            patterns: [
              {
                group: [
                  "effect",
                  "!effect/**",
                  "eventfold",
                  "../../../**",
                  "../!(Operations.ts)",
                  "../../!(Operations.ts)",
                  "!../{link,parts,pure,views,frame}/**"
                ],
                message: "The inspector's page knows src/operate/Operations.ts, and no store."
              }
            ]
          }
        ]
      }
    },
    {
      files: ["src/*.ts"],
      rules: {
        "no-restricted-imports": [
          "error",
          { patterns: [{ group: ["**"], message: "Each module of src stands in a wing of .house.ts." }] }
        ]
      }
    },
    {
      files: ["src/index.ts"],
      rules: {
        "no-restricted-imports": [
          "error",
          {
            patterns: [
              {
                group: [
                  "**" as string,
                  ...Object.entries(house).flatMap(([name, { faces }]) =>
                    name === "internal" || name === "sql"
                      ? []
                      : faces.filter((face) => face !== "index").map((face) => `!./${name}/${face === "*" ? "**" : `${face}.ts`}`)
                  )
                ],
                message: "index.ts exports the faces of the wings, and nothing else."
              }
            ]
          }
        ]
      }
    },
    {
      files: ["test/**/*.ts", "examples/**/*.ts"],
      rules: {
        "no-restricted-imports": [
          "error",
          {
            patterns: [
              {
                group: ["**/src/index.ts", "**/src/**/[A-Z]*.ts", "**/src/*/index.ts"],
                caseSensitive: true,
                message: 'Import public modules as a user would: from "eventfold".'
              }
            ]
          }
        ]
      }
    }
  ]
})
