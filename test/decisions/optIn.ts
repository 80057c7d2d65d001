/** Double opt-in: a token confirms one sign-up, once, and for an hour. */
import { Clock, Effect, Schema } from "effect"
import { Decision, Event, Tag } from "eventfold"

const email = Tag.make("email")
const otp = Tag.make("otp")
const fields = { email: Schema.String, otp: Schema.String, at: Schema.Int }
const both = (e: { readonly email: string; readonly otp: string }) => [email(e.email), otp(e.otp)]

const Initiated = Event.make("SignUpInitiated", { ...fields, name: Schema.String }, { tags: both })
const Confirmed = Event.make("SignUpConfirmed", { ...fields, name: Schema.String }, { tags: both })

const PendingSignUp = Decision.make("PendingSignUp", {
  tags: { email, otp },
  events: [Initiated, Confirmed],
  state: Schema.UndefinedOr(Schema.Struct({ name: Schema.String, at: Schema.Int, used: Schema.Boolean })),
  initial: undefined,
  evolve: {
    SignUpInitiated: (_, { at, name }) => ({ name, at, used: false }),
    SignUpConfirmed: (state) => state && { ...state, used: true }
  }
})

export class BadToken extends Schema.TaggedError<BadToken>()("BadToken", {
  why: Schema.Literals(["unknown", "used", "expired"])
}) {}

export const initiate = (email: string, otp: string, name: string) =>
  Decision.execute(PendingSignUp({ email, otp }), `SignUp-${email}`, () =>
    Effect.map(Clock.currentTimeMillis, (at) => [Initiated.make({ email, otp, at, name })])
  )

export const confirm = (email: string, otp: string) =>
  Decision.execute(
    PendingSignUp({ email, otp }),
    `SignUp-${email}`,
    Effect.fnUntraced(function* (pending) {
      const at = yield* Clock.currentTimeMillis
      if (pending === undefined) return yield* new BadToken({ why: "unknown" })
      if (pending.used) return yield* new BadToken({ why: "used" })
      if (at - pending.at > 60 * 60_000) return yield* new BadToken({ why: "expired" })
      return [Confirmed.make({ email, otp, at, name: pending.name })]
    })
  )
