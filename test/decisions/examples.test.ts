import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Effect, Exit, Layer } from "effect"
import { TestClock } from "effect/testing"
import { MessageBus, UnitOfWork } from "eventfold"
import { numbers } from "../support/words.ts"
import { makeWirings } from "../support/wirings.ts"
import * as courses from "./courses.ts"
import * as invoices from "./invoices.ts"
import * as optIn from "./optIn.ts"
import * as prices from "./prices.ts"
import * as requests from "./requests.ts"
import * as usernames from "./usernames.ts"
import { log, race, recorded, slowReads, successes } from "./support.ts"

const { onEveryStore } = makeWirings()

const { transact } = UnitOfWork

const isRefused =
  (expected: unknown) =>
  <A, E>(exit: Exit.Exit<A, E>): void => {
    if (Exit.isFailure(exit)) assert.deepEqual(exit, Exit.fail(expected))
  }

describe("courses: one event takes up a seat of a course and a place of a student", () => {
  const Live = Layer.mergeAll(courses.DefineCourseLive, courses.SubscribeLive).pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(slowReads)
  )
  const course = (n: number) => courses.CourseId.make(`c-${n}`)
  const student = (n: number) => courses.StudentId.make(`s-${n}`)
  const define = (n: number, capacity: number) => MessageBus.execute(courses.DefineCourse, { course: course(n), capacity })
  const subscribe = (c: number, s: number) => MessageBus.execute(courses.Subscribe, { course: course(c), student: student(s) })

  onEveryStore((test) => {
    test("ten students for three seats: exactly three", () =>
      Effect.gen(function* () {
        yield* define(1, 3)
        const exits = yield* race(numbers(10).map((n) => subscribe(1, n)))
        exits.forEach(isRefused(new courses.Refused({ why: "the course is full" })))
        assert.equal(successes(exits), 3)
        assert.equal((yield* recorded(courses.Subscribed)).length, 3)
      }).pipe(Effect.provide(Live)))

    test("twelve courses for one student: ten", () =>
      Effect.gen(function* () {
        for (const n of numbers(12)) yield* define(n, 5)
        const exits = yield* race(numbers(12).map((n) => subscribe(n, 1)))
        exits.forEach(isRefused(new courses.Refused({ why: "ten courses are enough" })))
        assert.equal(successes(exits), 10)
        assert.equal((yield* recorded(courses.Subscribed)).length, 10)
      }).pipe(Effect.provide(Live)))

    test("the other rules: no course, the same course twice, a course defined twice", () =>
      Effect.gen(function* () {
        const none = yield* Effect.flip(subscribe(1, 1))
        yield* define(1, 2)
        yield* courses.subscribe({ course: course(1), student: student(1) })
        const twice = yield* Effect.flip(subscribe(1, 1))
        const again = yield* Effect.flip(define(1, 7))
        assert.deepEqual(
          [none, twice, again],
          ["no such course", "subscribed already", "the course exists"].map((why) => new courses.Refused({ why }))
        )
      }).pipe(Effect.provide(Live)))
  })
})

describe("user names: one in the whole store, whatever the case", () => {
  const name = (text: string) => usernames.Name.make(text)

  onEveryStore((test) => {
    test("ten claims of a name: one", () =>
      Effect.gen(function* () {
        const exits = yield* race(numbers(10).map((n) => transact(usernames.register(String(n), name(n % 2 ? "Ada" : " ada ")))))
        assert.equal(successes(exits), 1)
        assert.equal((yield* recorded(usernames.Registered)).length, 1)
      }).pipe(Effect.provide(slowReads)))

    test("is free again once it is given up, or changed", () =>
      Effect.gen(function* () {
        yield* transact(usernames.register("1", name("ada")))
        const taken = yield* Effect.flip(transact(usernames.register("2", name("ADA"))))
        assert.deepEqual(taken, new usernames.Taken({ name: "ADA" }))
        yield* transact(usernames.rename("1", name("ada"), name("eve")))
        yield* transact(usernames.register("2", name("ada")))
        yield* transact(usernames.close("1", name("eve")))
        yield* transact(usernames.register("3", name("Eve")))
        assert.deepEqual(yield* log, [
          "Account-1@1 AccountRegistered",
          "Account-1@2 UsernameChanged",
          "Account-2@1 AccountRegistered",
          "Account-1@3 AccountClosed",
          "Account-3@1 AccountRegistered"
        ])
      }))
  })
})

describe("invoices: numbers without a gap", () => {
  onEveryStore((test) => {
    test("twenty at once: 1 to 20, and another series by itself", () =>
      Effect.gen(function* () {
        const invoice = (n: number) => transact(invoices.createInvoice(String(n), n > 20 ? "b" : "a", 100 + n))
        const exits = yield* race(numbers(22).map(invoice))
        assert.equal(successes(exits), 22)
        const numbered = yield* recorded(invoices.InvoiceCreated)
        const of = (wanted: string) => numbered.filter(({ series }) => series === wanted).map(({ number }) => number)
        assert.deepEqual(of("a"), numbers(20))
        assert.deepEqual(of("b"), [1, 2])
      }).pipe(Effect.provide(slowReads)))
  })
})

describe("opt-in: a token confirms once, for an hour", () => {
  onEveryStore((test) => {
    test("unknown, used, expired", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 hour")
        const unknown = yield* Effect.flip(transact(optIn.confirm("a@b.c", "1")))
        yield* transact(optIn.initiate("a@b.c", "1", "Ada"))
        yield* transact(optIn.initiate("a@b.c", "2", "Ada"))
        yield* TestClock.adjust("59 minutes")
        const exits = yield* race(numbers(5).map(() => transact(optIn.confirm("a@b.c", "1"))))
        assert.equal(successes(exits), 1)
        exits.forEach(isRefused(new optIn.BadToken({ why: "used" })))
        yield* TestClock.adjust("2 minutes")
        const expired = yield* Effect.flip(transact(optIn.confirm("a@b.c", "2")))
        assert.deepEqual([unknown, expired], [new optIn.BadToken({ why: "unknown" }), new optIn.BadToken({ why: "expired" })])
      }).pipe(Effect.provide(slowReads)))
  })
})

describe("prices: the one that was displayed counts", () => {
  onEveryStore((test) => {
    test("while it is current, and for ten minutes after; a new price meanwhile spoils no order", () =>
      Effect.gen(function* () {
        yield* transact(prices.define("tea", 5))
        yield* transact(prices.define("cup", 3))
        const lines = [
          { product: "tea", price: 5 },
          { product: "cup", price: 3 }
        ]
        // The price changes while the first order is being decided on; nothing is repeated.
        const [first] = yield* Effect.all([Effect.exit(transact(prices.place("1", lines))), transact(prices.change("tea", 6))], {
          concurrency: "unbounded"
        })
        assert.equal(Exit.isSuccess(first), true)
        yield* TestClock.adjust("9 minutes")
        yield* transact(prices.place("2", lines))
        yield* transact(prices.place("2", lines)) // known already
        yield* TestClock.adjust("2 minutes")
        const outdated = yield* Effect.flip(transact(prices.place("3", lines)))
        assert.deepEqual(outdated, new prices.Outdated({ product: "tea" }))
        assert.equal((yield* recorded(prices.Ordered)).length, 2)
      }).pipe(Effect.provide(slowReads)))
  })
})

describe("requests: sent twice, they take effect once", () => {
  onEveryStore((test) => {
    test("ten times at once: one order, and all are told of it", () =>
      Effect.gen(function* () {
        const exits = yield* race(numbers(10).map((n) => transact(requests.placeOrder(`o-${n}`, "r-1"))))
        const orders = new Set(exits.map((exit) => (Exit.isSuccess(exit) ? exit.value : exit)))
        const [placed, ...others] = yield* recorded(requests.OrderPlaced)
        assert.deepEqual([others, [...orders]], [[], [placed?.order]])
        assert.equal(yield* transact(requests.placeOrder("o-11", "r-2")), "o-11")
      }).pipe(Effect.provide(slowReads)))
  })
})
